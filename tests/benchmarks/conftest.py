"""The benchmarks' folders on the path, and tiny data sets."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BENCHMARKS = HERE.parents[1] / "benchmarks"
for folder in (HERE, BENCHMARKS, BENCHMARKS / "paper"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> Path:
    """Dubai and the stand-in for EPFL."""
    from tiny_paper import draw_dubai, draw_vnc

    root = tmp_path_factory.mktemp("tiny")
    draw_dubai(root / "dubai")
    draw_vnc(root / "vnc_sstem")
    return root


@pytest.fixture(scope="session")
def tiny_epfl(tmp_path_factory) -> Path:
    from tiny_paper import draw_epfl

    root = tmp_path_factory.mktemp("tiny_epfl")
    draw_epfl(root / "Electron Microscopy")
    return root
