"""Fixtures that all tests share: benchmark data, threads, and the rule on skipped data tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from hypothesis import settings

REQUIRE_DATA = "NAPARI_SPSS_REQUIRE_DATA"
DATA_FOLDER = "NAPARI_SPSS_DATA"
REPOSITORY = Path(__file__).resolve().parents[1]
CORE = Path(__file__).resolve().parent / "core"

# Before torch or numpy start their pools: the machine may be shared, and sums must repeat.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A busy machine is no reason to fail; a failure shows how to repeat it. Every run draws anew.
settings.register_profile("napari-spss", deadline=None, print_blob=True, max_examples=40)
settings.load_profile("napari-spss")


def is_data_required() -> bool:
    """Whether a data test that does not run is a failure."""
    return os.environ.get(REQUIRE_DATA, "") not in ("", "0")


def find_data() -> Path | None:
    """Folder of the benchmark images, or None."""
    folder = Path(os.environ.get(DATA_FOLDER) or REPOSITORY.parent / "shared" / "data")
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real images ``vnc_sstem``, ``axon_sem`` and ``dubai``."""
    folder = find_data()
    if folder is None:
        pytest.skip(f"no benchmark images; name their folder in {DATA_FOLDER}")
    return folder


@pytest.fixture
def one_torch_thread() -> Generator[None]:
    """Run torch on one thread, as a test that compares weights bit by bit needs."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str, str, str], None]:
    """Put a package with an entry point on the path: ``install(name, code, group, offer)``."""

    def make(name: str, code: str, group: str, offer: str) -> None:
        (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{offer}\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, name, raising=False)

    return make


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses ``shared_data`` as a data test."""
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker("data")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let coverage follow the core's own tests alone: every line costs half its time again."""
    coverage = getattr(sys.modules.get("coverage"), "Coverage", None)
    follower = coverage.current() if coverage and CORE not in item.path.parents else None
    if follower is None:
        return (yield)
    follower.stop()
    try:
        return (yield)
    finally:
        follower.start()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped data test into a failure where the data are required."""
    report = yield
    is_unwanted = report.skipped and not hasattr(report, "wasxfail")
    if is_unwanted and is_data_required() and item.get_closest_marker("data") is not None:
        report.outcome = "failed"
        report.longrepr = (
            f"{REQUIRE_DATA} is set, but this data test was skipped: {report.longrepr}"
        )
    return report
