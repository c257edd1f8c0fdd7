"""What is counted, and how it is laid: a grid over a slice, or frames; proposed, or typed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QRadioButton, QSpinBox, QWidget

from ...layers import shown_key
from ...models import FrameLayout
from ..parts import fill_column, make_button, make_row
from ..theme import set_mark
from .grid_buttons import NEXT_OPEN_KEY

if TYPE_CHECKING:
    from ...models import GridBook

LAY_KEY = "Shift-G"


class GridForm(QWidget):
    """Whether whole slices are counted, or frames, and how many nodes the next ones have.

    Parameters
    ----------
    propose, lay : callable
        What the buttons do.
    only_frames : bool
        Whether there is no choice: those of a check count.

    Attributes
    ----------
    fault : str
        Why nothing could be laid; empty as soon as a number is another one.
    """

    kind_changed = Signal()  # whole slices are counted from now on, or frames
    fault_changed = Signal()

    def __init__(
        self, propose: Callable[[], object], lay: Callable[[], object], *, only_frames: bool
    ) -> None:
        super().__init__()
        self.fault = ""
        self._only_frames = only_frames
        self._plan = make_button(
            "Propose",
            propose,
            "Propose what to count in the time that you have: grids over whole slices, or frames.\n"
            "It follows from the size of the image and the object diameter.",
        )
        self._minutes = self._number((1, 999), "Time that you have.", " min")
        self._minutes.setPrefix("for ")
        self._minutes.setValue(5)
        self._on_slice = QRadioButton("Whole slice")
        self._on_slice.setToolTip("Count a grid over the whole of a slice.")
        self._in_frames = QRadioButton("Frames")
        self._in_frames.setToolTip(
            "Count small frames, spread over the stack, at full zoom.\n"
            "For large images, where the nodes of one grid would lie too far apart."
        )
        self.set_framing(only_frames)
        self._lay = make_button("Lay grid", lay)
        self._n_side = self._number(
            (4, 64),
            "About this many nodes along a side of the next grid. 16 x 16 nodes tell a fraction of "
            "6 % to about 1.5 percentage points.",
        )
        self._n_side.setValue(16)
        self._n_side_label = QLabel("nodes a side")
        n_frames = self._number((1, 9999), "How many frames to lay.", " frames")
        n_frames.valueChanged.connect(
            lambda n: n_frames.setSuffix(" frame" if n == 1 else " frames")
        )
        frame_px = self._number(
            (1, 99999), "About the side of a frame, in pixels of the image.", " px wide"
        )
        frame_nodes = self._number(
            (1, 64), "Nodes along a side of a frame: 8 is 8 x 8 nodes.", " nodes a side"
        )
        # by field of a FrameLayout
        self._frame_boxes = {"n": n_frames, "size_px": frame_px, "nodes_per_side": frame_nodes}
        self.propose(FrameLayout())
        fill_column(
            *(self, make_row((self._plan, 1), (self._minutes, 1))),
            make_row((self._on_slice, 1), (self._in_frames, 1)),
            make_row((self._lay, 1), self._n_side_label, self._n_side, (n_frames, 1)),
            make_row((frame_px, 9), (frame_nodes, 10)),
        )
        for choice in (self._on_slice, self._in_frames):
            choice.setVisible(not only_frames)
        self._show_kind()
        self._in_frames.toggled.connect(self._on_kind)

    def _number(self, bounds: tuple[int, int], tooltip: str, suffix: str = "") -> QSpinBox:
        box = QSpinBox()
        box.setRange(*bounds)
        box.setSuffix(suffix)
        box.setToolTip(tooltip)
        box.valueChanged.connect(lambda _: self.mark_fault(None))
        return box

    @property
    def is_framing(self) -> bool:
        """Whether frames are counted."""
        return self._in_frames.isChecked()

    def set_framing(self, is_framing: bool) -> None:
        """Count frames from now on, or whole slices."""
        (self._in_frames if is_framing else self._on_slice).setChecked(True)

    @property
    def minutes(self) -> float:
        """Time that there is."""
        return float(self._minutes.value())

    @property
    def n_side(self) -> int:
        """About how many nodes lie along a side of a grid over a slice."""
        return self._n_side.value()

    def frame_layout(self) -> FrameLayout:
        """How frames are to be laid."""
        return FrameLayout(**{name: box.value() for name, box in self._frame_boxes.items()})

    @property
    def is_as_proposed(self) -> bool:
        """Whether nobody has said otherwise how frames are to be laid."""
        return self.frame_layout() == self._proposed

    def propose(self, layout: FrameLayout) -> None:
        """Propose how to lay frames."""
        self._proposed = layout
        self._fill(layout)

    def choose(self, n: int, nodes_per_side: int, size_px: int | None) -> None:
        """Say what a plan says: so many frames of a size, or grids over slices."""
        self.set_framing(size_px is not None)
        if size_px is None:
            self._n_side.setValue(nodes_per_side)
        else:
            self._fill(FrameLayout(n, size_px, nodes_per_side))

    def mark_fault(self, field: str | None, fault: str = "") -> None:
        """Mark the number that is wrong, and say why; without one, take that back."""
        if fault == self.fault:
            return
        self.fault = fault
        for name, box in self._frame_boxes.items():
            set_mark(box, "error" if name == field else "")
        self.fault_changed.emit()

    @property
    def lay_text(self) -> str:
        """What the button says that lays a grid, or frames."""
        return self._lay.text()

    def show_lay(self, book: GridBook, *, is_ready: bool, is_hidden: bool) -> None:
        """Say what is laid beside what there is, or shown again if it is hidden."""
        key, text = shown_key(LAY_KEY), "Lay grid"
        if self.is_framing:
            text = "Lay more frames" if book.frames() else "Lay frames"
        self._plan.setEnabled(is_ready)
        self._lay.setEnabled(is_ready)
        self._lay.setText("Show grid" if is_hidden else text)
        self._lay.setToolTip(
            f"Spread small frames over the stack, at random, beside those that are there ({key})."
            if self.is_framing
            else f"Lay a grid on this slice, at a random offset ({key})."
        )

    def hint(self, book: GridBook) -> str:
        """Tell what to do where nothing is shown that could be counted."""
        key = shown_key(LAY_KEY)
        if not self.is_framing:
            return f"Lay a grid on this slice ({key}), then click its nodes that lie on a class."
        if book.frames(is_open=True):
            return f"Next open ({shown_key(NEXT_OPEN_KEY)}) goes to the frame to be counted next."
        verb = "more frames" if book.frames() else "frames"
        spread = f"Lay {verb} ({key}): small parts of the image, spread over all slices."
        return f"{spread} No training learns from their nodes." if self._only_frames else spread

    def _fill(self, layout: FrameLayout) -> None:
        for name, box in self._frame_boxes.items():
            box.setValue(getattr(layout, name))

    def _on_kind(self) -> None:
        self._show_kind()
        self.kind_changed.emit()

    def _show_kind(self) -> None:
        for widget in (self._n_side, self._n_side_label):
            widget.setVisible(not self.is_framing)
        for widget in self._frame_boxes.values():
            widget.setVisible(self.is_framing)
