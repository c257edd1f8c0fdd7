"""The napari dock: the only part that knows Qt and napari."""

import os

# Threads that wait would keep a core busy; read once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
