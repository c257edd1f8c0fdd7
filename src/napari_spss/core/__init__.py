"""Everything that computes: knows neither Qt, napari, magicgui nor typer."""
