"""``--outside`` from masks to tables: simulate, train, go on, predict, measure."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_spss.core.annotations import Classes, read_annotations
from napari_spss.core.training import RunFolder, load_model

pytestmark = pytest.mark.usefixtures("one_torch_thread")

CLASSES = ("--classes", "background,disc,resin")
RESIN = ("--outside", "resin")


@pytest.fixture
def masks(truth):
    """True masks of the example, resin over the left half: file ``masks.tif``."""
    truth[:, :, :32] = 2
    tifffile.imwrite("masks.tif", truth, photometric="minisblack")
    return truth


def test_fractions_of_the_rest_go_from_masks_to_tables(spss, tiny, masks, tmp_path):
    exact = (masks == 1).sum(axis=(1, 2)) / (64 * 32)
    for protocol in ("guess", "grid"):
        done = spss("simulate", "masks.tif", "--protocol", protocol, "--out", protocol, *CLASSES,
                    *RESIN)  # fmt: skip
        assert done.code == 0, done.err
        assert done.out.splitlines()[-1].endswith("--outside resin --out RUN")
    stated = read_annotations(proportions="guess/proportions.csv", outside="resin")
    assert [one.fractions[1] for one in stated.proportions] == pytest.approx(exact)

    tables = ("--proportions", "guess/proportions.csv", "--grid", "grid/grid.csv")
    done = spss("train", "image.tif", *tables, *RESIN, "--out", "run", *tiny)
    assert done.code == 0, done.err
    assert load_model("run").outside == "resin"
    counted = RunFolder(tmp_path / "run").annotations().effective_proportions()
    assert all(one.fractions[2] == 0 for one in counted)
    rows = [line.split() for line in done.out.splitlines() if line.startswith("  slice")]
    assert [row[2] for row in rows] == ["disc"] * 3

    again = spss("train", "--out", "run", "--resume", "--outside", "disc")
    assert "the class outside is resin, not disc" in again.error
    again = spss("train", "--out", "run", "--resume", "--set", "optimisation.max_steps=6", *RESIN)
    assert again.code == 0, again.err
    assert load_model("run").outside == "resin"

    done = spss("predict", "run", "image.tif", "--out", "result", "--device", "cpu")
    assert done.code == 0, done.err
    labels = tifffile.imread("result/labels.ome.tif")
    table = pd.read_csv("result/fractions_stack.csv").set_index("class")["fraction"]
    n_inside = np.count_nonzero(labels != 2)
    assert table["disc"] == pytest.approx(np.count_nonzero(labels == 1) / n_inside)
    assert np.isnan(table["resin"])
    done = spss("measure", "result", "--out", "again.csv")  # labels say themselves what is outside
    assert done.code == 0, done.err
    for name in ("fractions.csv", "fractions_stack.csv"):
        again = name.replace("fractions", "again")
        pd.testing.assert_frame_equal(pd.read_csv(again), pd.read_csv(f"result/{name}"))
    named = Classes(("background", "disc", "plastic"), outside="plastic")
    RunFolder(tmp_path / "run").copy_to(tmp_path / "named", classes=named)
    done = spss("estimate", "result", "--run", "named")  # what is outside has another name there
    assert done.code == 0, done.err


def test_measure_leaves_the_outside_out(spss, masks):
    done = spss("measure", "masks.tif", *CLASSES, *RESIN)
    assert done.code == 0, done.err
    inside = 100 * (masks == 1).sum() / (masks != 2).sum()
    assert done.out.splitlines()[-1].startswith(f"disc: {inside:.2f} %")
    assert "resin" not in done.out


def test_masks_alone_may_name_the_outside(spss, tiny, masks):
    done = spss("train", "image.tif", "--masks", "masks.tif", *CLASSES, *RESIN, "--out", "run",
                *tiny)  # fmt: skip
    assert done.code == 0, done.err
    exact = (masks == 1).sum() / (masks != 2).sum()
    assert load_model("run").stated_fractions == pytest.approx((1 - exact, exact, 0), abs=1e-6)


def test_an_outside_that_is_no_class_is_refused(spss, tiny, masks):
    done = spss("measure", "masks.tif", *CLASSES, "--outside", "tube")
    assert (done.code, "not among the classes" in done.error) == (2, True)
    options = ("--keypoints", "keypoints.csv", "--grid", "grid.csv", "--outside", "tube")
    assert "not among" in spss("train", "image.tif", *options, "--out", "run", *tiny).error
