"""What the user may want to do next, in a sentence; no Qt inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..core.annotations import Annotations

__all__ = ["Progress", "has_places", "next_step"]


@dataclass(frozen=True)
class Progress:
    """How far the work has come.

    Parameters
    ----------
    missing : str
        What has to be done before a training, empty if nothing.
    has_places : bool
        Whether anything says where a class is: a done grid, a keypoint, a painted label.
    has_model : bool
        Whether there is a model to apply.
    n_slices, n_predicted : int
        Slices of the image, and how many of them the model was wholly applied to.
    is_saved : bool
        Whether the result as it is was saved.
    """

    missing: str = ""
    has_places: bool = False
    has_model: bool = False
    n_slices: int = 1
    n_predicted: int = 0
    is_saved: bool = False


def next_step(progress: Progress) -> str:
    """Say what comes next."""
    if progress.has_model and progress.is_saved:
        return "Saved. To improve the map: correct it under Annotate, then press Continue."
    if progress.has_model and progress.n_predicted >= progress.n_slices:
        return "Next: check the labels on other slices, then save them under Results."
    if progress.has_model:
        return (
            "Next: look at the map. Where it is wrong, add points and press Continue; "
            "where it is right, apply it to the whole stack under Results."
        )
    if progress.missing:
        return progress.missing
    if not progress.has_places:
        return "Next: count a grid or add points. Fractions alone do not tell where things are."
    return "Next: press Train."


def has_places(annotations: Annotations | None) -> bool:
    """Whether annotations say where anything is."""
    if annotations is None:
        return False
    return bool(annotations.keypoints) or any(grid.is_done for grid in annotations.grids)
