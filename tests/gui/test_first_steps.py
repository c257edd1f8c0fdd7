"""napari outlives what a newcomer does: with software OpenGL it died when layers were removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_napari_outlives_the_first_steps(qapp, tmp_path):
    steps = Path(__file__).with_name("first_steps.py")
    surroundings = os.environ | {"XDG_DATA_HOME": str(tmp_path), "LIBGL_ALWAYS_SOFTWARE": "1"}
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", str(steps)],
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.split("\n")[-2] == "lives"
