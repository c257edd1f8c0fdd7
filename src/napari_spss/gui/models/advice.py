"""What the user may want to do next, in a sentence; no Qt inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...core.annotations import Annotations


@dataclass(frozen=True)
class Progress:
    """How far the work has come."""

    has_image: bool = True  # whether there is an image to work on
    is_reading: bool = False  # whether it is still being found out which image it is
    cover: str = ""  # image that lies over the one to work on; empty if none does
    missing: str = ""  # what has to be done before a training, empty if nothing
    n_marked: int = 0  # cells of the table of fractions that cannot be read
    # grid that was begun and is not done, such as "the grid on slice 3"; empty if there is none
    open_grid: str = ""
    n_open_frames: int = 0  # frames that are not done, begun or not
    # whether anything says where a class is: a done grid, a keypoint, a painted label
    has_places: bool = False
    # whether there is a model to apply; whether its classes are others than those that are
    # annotated, so that it cannot be trained on
    has_model: bool = False
    has_other_classes: bool = False
    is_cut_short: bool = False  # its training ended, by time or a crash, before all steps were done
    n_to_look_at: int = 0  # nodes that a second look lists and that were not looked at yet
    has_news: bool = False  # whether something was annotated that the model has not learned
    # whether the model agrees with the judged nodes clearly less than the one before
    is_worse: bool = False
    has_preview: bool = False  # whether the map of a training is shown
    can_look_again: bool = False  # judged nodes could have a second look, and none had one yet
    n_open_check: int = 0  # frames of the check count that are not done
    n_contradicted: int = 0  # nodes of it that contradict the labels and had no second look
    # whether fractions can be estimated by it, and were, as things are now
    can_estimate: bool = False
    is_estimated: bool = False
    # whether a model was applied; whether that was another than the one there is now
    has_result: bool = False
    is_stale: bool = False
    # slices of the image, and how many of them the model was wholly applied to
    n_slices: int = 1
    n_predicted: int = 0
    is_saved: bool = False  # whether the result as it is was saved


def next_step(progress: Progress) -> str:
    """Say what comes next."""
    if progress.is_reading:
        return "Reading the image: has it been annotated before?"
    if not progress.has_image:
        return progress.missing
    if progress.cover:
        return (
            f"{progress.cover} lies over the image that is worked on, and you do not see that. "
            "Choose it under Image, or hide it in the list of layers."
        )
    if progress.n_marked:
        cells = "marked cell" if progress.n_marked == 1 else f"{progress.n_marked} marked cells"
        return f"Next: correct the {cells} in the table of fractions."
    if progress.open_grid:
        return (
            f"Next: finish counting {progress.open_grid} and press Done; "
            "as long as it is open it does not count."
        )
    if progress.n_open_frames and not progress.has_places:
        return "Next: count the frames that were laid. Press Done (D) after each."
    return _with_model(progress) if progress.has_model else _without_model(progress)


def _without_model(progress: Progress) -> str:
    if progress.missing:
        return progress.missing
    if not progress.has_places:
        return "Next: count a grid or add keypoints. Fractions alone do not tell where things are."
    if progress.n_open_frames:
        n_open = progress.n_open_frames
        are_open = "1 is open" if n_open == 1 else f"{n_open} are open"
        return f"Next: count more frames ({are_open}), or press Train."
    return "Next: press Train."


def _with_model(progress: Progress) -> str:
    can_train, learn = not progress.missing, "Train" if progress.has_other_classes else "Continue"
    if progress.n_to_look_at and can_train:
        n_left = progress.n_to_look_at
        are_left = "1 node is" if n_left == 1 else f"{n_left} nodes are"
        return f"Next: go on with the second look ({are_left} left) or press End, then {learn}."
    if progress.has_other_classes and progress.has_news and can_train:
        return "Next: press Train. The classes are no longer those of the model."
    if progress.is_cut_short and can_train and not progress.has_other_classes:
        return "Next: press Continue. It does the steps that are left."
    if progress.has_news and can_train:
        return "Next: press Continue. The model learns what you have annotated since."
    if progress.is_worse and (progress.is_stale or not progress.has_result):
        return "Next: see under Results how much worse this model is, and use the one before."
    if not (progress.has_preview or progress.has_result):
        return "Next: apply the model to this slice under Results, and look at the map."
    if progress.has_result and progress.is_stale:
        look = "look at the new map. Where it is right, apply" if progress.has_preview else "apply"
        return f"Next: {look} the model under Results: the labels are still of the one before."
    if not progress.has_result or progress.n_predicted < progress.n_slices:
        where = " to the whole stack" if progress.n_slices > 1 else ""
        hint = (
            f"Next: look at the map. Where it is wrong, add keypoints and press {learn}; "
            f"where it is right, apply it{where} under Results."
        )
        looks = " A second look, there, finds nodes that were judged wrongly."
        return hint + looks if progress.can_look_again else hint
    if progress.n_open_check:
        n_open = progress.n_open_check
        are_open = "1 frame is" if n_open == 1 else f"{n_open} frames are"
        return f"Next: go on with the check count under Annotate, Check ({are_open} open)."
    if progress.n_contradicted:
        is_one = progress.n_contradicted == 1
        nodes = "node" if is_one else f"{progress.n_contradicted} nodes"
        verb = "contradicts" if is_one else "contradict"
        return f"Next: look again at the {nodes} of the check count that {verb} the labels."
    if progress.can_estimate and not progress.is_estimated:
        return "Next: press Estimate under Results."
    if not progress.is_saved:
        where = "the labels on other slices" if progress.n_slices > 1 else "the labels"
        if progress.is_estimated:
            return "Next: save the labels with their fractions under Results."
        return (
            f"Next: look at {where}, then save them under Results. To report fractions, count "
            "frames under Annotate, Check."
        )
    return f"Saved. To improve the map: correct it under Annotate, then press {learn}."


def has_places(annotations: Annotations | None) -> bool:
    """Whether annotations say where anything is."""
    if annotations is None:
        return False
    return bool(annotations.keypoints) or any(grid.is_done for grid in annotations.grids)


def open_grid(annotations: Annotations | None) -> str:
    """Name a grid or frame that was begun and is not done; empty if there is none."""
    grids = () if annotations is None else annotations.grids
    frames = [grid for grid in grids if grid.box is not None]
    for grid in grids:
        if not grid.is_done and (grid.class_index >= 0).any():
            if grid.box is None:
                return f"the grid on slice {grid.slice}"
            return f"frame {frames.index(grid) + 1} of {len(frames)} on slice {grid.slice}"
    return ""
