"""Tiny image files with annotations, and the command line called in this process."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

import numpy as np
import pytest
import tifffile
from blobs import annotated, blobs

from napari_spss.cli import main
from napari_spss.core.annotations import write_annotations

N_SLICES = 3
TINY = (
    "--device=cpu",
    "--set=network.filters=4",
    "--set=optimisation.max_steps=5",
    "--set=sampling.crop_px=64",
    "--set=sampling.batch_size=2",
)


@dataclass(frozen=True)
class Done:
    """What a command returned and wrote."""

    code: int
    out: str
    err: str

    @property
    def error(self):
        """The only line on standard error, after "error: "."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: ")
        assert self.out == ""
        return lines[0].removeprefix("error: ")


def spss(*arguments):
    """Call the command line."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Done(code, out.getvalue(), err.getvalue())


def write_example(folder):
    """Write image.tif, truth.tif and the three tables; return the truth."""
    stack, truth = blobs(N_SLICES)
    image = np.stack([stack.read(z)[0] for z in range(N_SLICES)])
    tifffile.imwrite(folder / "image.tif", image, photometric="minisblack")
    tifffile.imwrite(folder / "truth.tif", truth, photometric="minisblack")
    write_annotations(folder, annotated(truth))
    return truth


@pytest.fixture(name="spss", scope="session")
def spss_fixture():
    """The command line: ``spss("train", "image.tif", ...)``."""
    return spss


@pytest.fixture
def tiny():
    """Options that keep training short."""
    return TINY


@pytest.fixture
def truth(tmp_path, monkeypatch):
    """True masks (Z, Y, X) of the example, whose files lie in the working folder."""
    monkeypatch.chdir(tmp_path)
    return write_example(tmp_path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Folder with the example and a trained ``run`` that no test may change."""
    folder = tmp_path_factory.mktemp("trained")
    write_example(folder)
    tables = ("--proportions", folder / "proportions.csv", "--grid", folder / "grid.csv")
    done = spss("train", folder / "image.tif", *tables, "--out", folder / "run", *TINY)
    assert done.code == 0, done.err
    return folder
