"""``python -m napari_spss`` does what the command ``napari-spss`` does."""

from __future__ import annotations

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
