"""What the check count says of the labels: nodes that contradict them, and corrected fractions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from qtpy.QtCore import QObject, Signal

from ..core.annotations import Look
from ..core.base import InputError, counted
from .models import Session, Task, explain, guarded, start_task
from .outcome import Estimated, Outcome

if TYPE_CHECKING:
    from ..core.annotations import Annotations, Classes
    from .widgets import AnnotateSection


class CheckCount(QObject):
    """Compares the check count with the labels that are shown.

    The session tells what cannot be done; the outcome is that of the image that is shown. The
    section has the check count, and what a training would learn from.
    """

    changed = Signal()  # there is another estimate

    def __init__(
        self,
        session: Session,
        outcome: Callable[[], Outcome],
        annotate: AnnotateSection,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.session = session
        self._outcome, self._check, self._training = outcome, annotate.check_value, annotate.value
        self._running: tuple[Task[Estimated], Outcome] | None = None

    @property
    def is_estimating(self) -> bool:
        """Whether an estimate is being made."""
        return self._running is not None

    def missing(self) -> str:
        """Say what has to be done before an estimate; nothing if it can be made."""
        maps, check = self._outcome().maps, self._check()
        if not any(grid.is_done and grid.n_judged for grid in check.grids):
            return "Count frames under Annotate, Check: nodes from which nothing learns."
        if maps is None or not maps.is_complete:
            return "Apply the model to the whole image first."
        if check.classes != maps.classes:
            return "The classes are others than those of the labels; train with them first."
        return ""

    def contradicted(self) -> tuple[Look, ...]:
        """Nodes of done frames that contradict the labels and were not looked at again."""
        labels = self._outcome().shown_labels()
        if labels is None or self.missing():
            return ()
        from ..core.analysis import contradicted_looks

        return contradicted_looks(labels, self._check())

    def stale(self) -> str:
        """Say what became other since the estimate was made; nothing if nothing did."""
        found, outcome = self._outcome().estimated, self._outcome()
        if found is None:
            return ""
        if found.version != outcome.version:
            return "The labels changed since: press Estimate again."
        now = self._check(), self._training().grids
        if now != (found.check, found.training.grids):
            return "The counts changed since: press Estimate again."
        return ""

    def warning(self, n_contradicted: int) -> str:
        """Say why the estimate is not to be believed as it is; nothing if it is."""
        if (stale := self.stale()) or not n_contradicted:
            return stale
        verb = "contradicts" if n_contradicted == 1 else "contradict"
        return (
            f"{counted(n_contradicted, 'node')} {verb} the labels and had no second look: wrong "
            "ones among them make a rare class much too large."
        )

    @guarded
    def estimate(self) -> None:
        """Estimate the fractions, beside the window; `changed` tells when it is done."""
        outcome, missing = self._outcome(), self.missing()
        if missing:
            raise InputError(missing)
        if self._running is not None:
            return
        if outcome.after_labels(self.estimate):
            self.session.say("info", "The estimate begins once the labels follow the threshold.")
            return
        labels, source, maps = outcome.labels(), outcome.source, outcome.maps
        assert labels is not None
        assert source is not None
        assert maps is not None
        call = partial(
            _estimate,
            labels,
            maps.classes,
            self._check(),
            self._training(),
            version=outcome.version,
            is_set=source.stack.is_set,
            identity=source.identity,
            run_dir=outcome.run_dir,
        )
        self._running = start_task("napari-spss estimate", call, self._on_ended), outcome
        self.changed.emit()

    @guarded
    def _on_ended(self, task: Task[Estimated]) -> None:
        if self._running is None or task is not self._running[0]:
            return
        outcome, self._running = self._running[1], None
        if task.error is not None:
            self.session.say("error", explain(task.error, "There is no estimate"))
        else:
            outcome.estimated = task.value
            outcome.is_saved = False
            self.session.say("info", "The fractions are estimated: see Results, Check count.")
        self.changed.emit()

    def shut_down(self) -> None:
        """Wait for no estimate any more."""
        running, self._running = self._running, None
        if running is not None:
            running[0].join()


def _estimate(
    labels: npt.NDArray[np.uint8],
    classes: Classes,
    check: Annotations,
    training: Annotations,
    *,
    version: int,
    is_set: bool,
    identity: str,
    run_dir: Path | None,
) -> Estimated:
    """Estimate in a thread; a check count that was learned from is refused."""
    from ..core.analysis import check_fresh, contradicted_nodes, estimate_fractions
    from ..core.training import CONFIG, RunFolder

    if run_dir is not None and (run_dir / CONFIG).is_file():
        run = RunFolder(run_dir)
        if run.inputs().image_identity == identity:
            check_fresh(check, *run.all_annotations())
    counted = training if any(grid.is_done for grid in training.grids) else None
    estimates = estimate_fractions(
        labels, check, training=counted, classes=classes, is_set=is_set, outside=classes.outside
    )
    return Estimated(estimates, contradicted_nodes(labels, check), check, training, version)
