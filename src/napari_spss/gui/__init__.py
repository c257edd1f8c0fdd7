"""The napari dock: the only part that knows Qt and napari."""
