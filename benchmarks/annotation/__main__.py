"""Entry point of ``python benchmarks/annotation``; see `annotation.command`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from annotation.command import main

if __name__ == "__main__":
    main()
