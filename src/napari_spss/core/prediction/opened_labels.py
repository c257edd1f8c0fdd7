"""Labels that are to be estimated or drawn, with the run that made them and their counts."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..analysis import check_fresh, weight_notes
from ..annotations import Classes, read_annotations
from ..base import InputError, ResultFiles
from ..images import labels_in, open_labels

if TYPE_CHECKING:
    from ..annotations import Annotations, ClassSpec
    from ..images import Masks
    from ..training import RunFolder

_NOT_SEEN = (
    "the run that made the labels was not found, so nobody looked whether it learned from the "
    "check count; name it by --run RUN (run in Python; in napari use a run, not a model alone)."
)
_ABOVE = 3


@dataclass(frozen=True)
class OpenedLabels:
    """Labels, their classes, and the run that made them, if it is known.

    The classes have colours where the labels keep some, and the class outside.
    """

    path: Path
    masks: Masks
    run: RunFolder | None
    classes: Classes

    @classmethod
    def of(
        cls,
        labels: Path,
        *,
        run: Path | None,
        classes: ClassSpec | None,
        outside: str | None,
        instances: bool = False,
    ) -> OpenedLabels:
        """Open labels, or those in the folder of a result; they or the run say what is outside."""
        path = labels_in(labels)
        masks = open_labels(path, classes=classes, instances=instances)
        folder = _run_of(run, path)
        outside = outside or getattr(masks.classes.names, "outside", None)
        if outside is None and folder is not None:
            outside = folder.annotations().outside
        return cls(path, masks, folder, Classes(masks.classes.names, outside))

    def read(
        self, *, grid: Path | None = None, proportions: Path | None = None
    ) -> Annotations | None:
        """Read tables of these labels; None if there is none.

        They may name classes as the labels or their run do, where these have other names by now.
        """
        if grid is None and proportions is None:
            return None

        def read_as(names: tuple[str, ...]) -> Annotations:
            index = self.classes.outside_index
            return read_annotations(
                grid=grid,
                proportions=proportions,
                classes=names,
                stack=self.masks.stack,
                outside=None if index is None else names[index],
            )

        try:
            return read_as(self.classes)
        except InputError:
            before = [tuple(open_labels(self.path).classes.names)]
            before += [] if self.run is None else [tuple(self.run.annotations().classes)]
            for names in before:
                with contextlib.suppress(InputError):
                    if len(names) == len(self.classes):
                        return read_as(names).replace(classes=self.classes, outside=None)
            raise

    def read_check(self, path: Path | None) -> Annotations | None:
        """Read a check count.

        Raises
        ------
        InputError
            If the run behind the labels, named or found, learned from a node of it.
        """
        checked = self.read(grid=path)
        if checked is not None:
            runs = [one for one in (self.run, _run_of(None, self.path)) if one is not None]
            learned = [one for one in runs if not self._are_of_another(one)]
            check_fresh(checked, *(told for one in learned for told in one.all_annotations()))
        return checked

    def notes(self, checked: Annotations | None) -> tuple[str, ...]:
        """What is not plain about labels and count, and that nobody looked what a run learned."""
        is_unseen = checked is not None and self.run is None
        of_check = () if checked is None else checked.notes
        stack = self.masks.stack
        sizes = [stack.pixel_size_um(z) for z in range(stack.n_slices if stack.is_set else 0)]
        of_labels = (*self.masks.notes, *weight_notes(sizes))
        return (*of_labels, *of_check, *((_NOT_SEEN,) * is_unseen))

    def _are_of_another(self, run: RunFolder) -> bool:
        """Whether they were predicted of another image than that which was learned from."""
        return _made_from(self.path).get("image") not in (None, run.inputs().image_identity)


def _run_of(run: Path | None, labels: Path) -> RunFolder | None:
    """The run that is named, in whose folder the labels lie, or that their record names."""
    from ..training import CONFIG, INPUTS, RunFolder

    if run is not None:
        return RunFolder(run)
    recorded = [Path(name) for name in [_made_from(labels).get("model")] if name]
    for folder in (*labels.resolve().parents[:_ABOVE], *recorded):
        if (folder / CONFIG).is_file() and (folder / INPUTS).is_file():
            return RunFolder(folder)
    return None


def _made_from(labels: Path) -> Mapping[str, str]:
    """What the record beside labels says that they were predicted from."""
    return ResultFiles(labels.parent, "prediction", ()).made_before()
