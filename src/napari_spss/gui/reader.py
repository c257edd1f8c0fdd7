"""Reader of MRC stacks, which napari itself does not open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

LayerData = tuple[Any, dict[str, Any], str]


def get_reader(
    path: str | Sequence[str],
) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Return the reader if it can open all the paths, else None."""
    from ..core.images import known_readers

    paths = [path] if isinstance(path, str) else list(path)
    suffixes = next(reader.suffixes for reader in known_readers() if reader.name == "MRC")
    if not paths or not all(Path(one).suffix.lower() in suffixes for one in paths):
        return None
    return read_stacks


def read_stacks(path: str | Sequence[str]) -> list[LayerData]:
    """Open stacks lazily, with voxel size and axis labels; InputError if a file is damaged."""
    paths = [path] if isinstance(path, str) else list(path)
    return [_read(Path(one)) for one in paths]


def _read(path: Path) -> LayerData:
    from napari.utils.notifications import show_info

    from ..core.images import open_stack
    from .layers import stack_layer

    stack = open_stack(path)
    for note in stack.notes:
        show_info(note)
    arguments = stack_layer(stack)
    return arguments.pop("data"), {"name": path.stem, **arguments}, "image"
