"""The Annotate section: fractions, counting grids, keypoints and painted labels, as one value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QTabBar, QWidget

from ....core.analysis import counted_fractions
from ....core.annotations import Annotations, Classes
from ....core.base import counted
from ...layers import RegionLayer, SourceFrame, layer_mark
from ...models import sentence
from ..parts import Notice, fill_column, make_button, make_row
from .fractions import FractionsTable
from .grid import GridTool
from .keypoints import KeypointsTool
from .painted import PaintedTool
from .second_look import SecondLook

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from ....core.analysis import CountedFractions
    from ....core.annotations import ClassStyle, CountingGrid, Look
    from ...layers import Source
    from ...models import PaintedLabels

_GRID, _CHECK = 1, 4  # of the tabs
_UNUSED = (
    "Without effect: {} in the layer of regions. Rectangles count that are drawn in the 2D view of "
    "single slices, on the image; draw them there, and delete the others."
)


class AnnotateSection(QWidget):
    """Tabs, one per way to annotate, that share classes, image and slice."""

    value_changed = Signal()
    slice_wanted = Signal(int)  # the user went to another row of the table
    results_hidden = Signal(str)  # while what labels and maps are to be hidden; empty if not

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._styles: tuple[ClassStyle, ...] = ()
        self._is_loading = False
        self._is_folded = False
        self._hidden_while = ""
        self.fractions = FractionsTable()
        self.regions = RegionLayer(viewer, self._on_regions_changed)
        self.destroyed.connect(self.regions.close)
        self.grid = GridTool(viewer)
        self.second_look = SecondLook(viewer, self.grid)
        self.check = GridTool(viewer, is_check=True)
        self.check_look = SecondLook(viewer, self.check, is_check=True)
        self.keypoints = KeypointsTool(viewer)
        self.painted = PaintedTool(viewer)
        self._lay_out()
        self.fractions.slice_activated.connect(self.slice_wanted)
        self.fractions.regions_added.connect(
            lambda _: self.regions.set_value(self.fractions.regions())
        )
        for grid, tab in ((self.grid, _GRID), (self.check, _CHECK)):
            grid.value_changed.connect(self._on_grid_changed)
            grid.called.connect(partial(self.show_tab, tab))
        for tool in (self.fractions, self.keypoints, self.painted, self.second_look):
            tool.value_changed.connect(self._on_changed)
        self.second_look.moved.connect(self._tell_hidden)

    def value(self) -> Annotations:
        """Return all annotations but the painted ones."""
        return Annotations(
            classes=Classes(self._styles),
            proportions=self.fractions.value(),
            keypoints=self.keypoints.value(),
            grids=self.grid.value(),
        )

    def check_value(self) -> Annotations:
        """Return the check count, from which nothing is to learn."""
        return Annotations(Classes(self._styles), grids=self.check.value())

    def set_value(
        self,
        annotations: Annotations,
        table_texts: Mapping[str, Any] | None = None,
        *,
        looks: Sequence[Look] = (),
        check: Sequence[CountingGrid] = (),
        is_damaged: bool = False,
    ) -> None:
        """Show annotations with the present classes, instead of all that is there.

        Parameters
        ----------
        annotations : Annotations
        table_texts : mapping, optional
            What was typed into the table of fractions, see `FractionsTable.text_state`.
        looks : sequence of Look
            Nodes to be looked at again.
        check : sequence of CountingGrid
            The check count.
        is_damaged : bool
            Whether fractions are missing that stand in the texts.
        """
        self._is_loading = True
        try:
            if table_texts:
                self.fractions.restore(annotations.proportions, table_texts, is_damaged=is_damaged)
            else:
                self.fractions.set_value(annotations.proportions)
            self.regions.set_value(self.fractions.regions())
            self.keypoints.set_value(annotations.keypoints)
            self.grid.set_value(annotations.grids)
            self.second_look.set_value(looks)
            self.check.set_value(check)
            self.check_look.set_value(())
            self._show_counted()
        finally:
            self._is_loading = False
        self.value_changed.emit()

    def usage_of(self, name: str) -> str:
        """Say what is annotated of a class, such as "12 keypoints, 3 nodes"; empty if nothing."""
        names = [style.name for style in self._styles]
        if name not in names:
            return ""
        index = names.index(name)
        counts = {
            "fraction": self.fractions.n_typed(name),
            "keypoint": sum(point.class_index == index for point in self.keypoints.value()),
            "node": sum(
                int((grid.class_index == index).sum())
                for grid in (*self.grid.value(), *self.check.value())
            ),
        }
        parts = [counted(n, noun) for noun, n in counts.items() if n]
        parts += ["painted labels"] if self.painted.has_labels_of(index) else []
        return ", ".join(parts)

    def masks(self) -> PaintedLabels | None:
        """Return the painted labels; None if nothing is painted."""
        return None if self.painted.is_erased else self.painted.value()

    def clear(self) -> None:
        """Forget everything, as for another image."""
        painted = self.painted.layer
        self.painted.set_value(None)
        if painted is not None and layer_mark(painted):
            painted.visible = False
        self.fractions.clear()
        self.set_value(Annotations(Classes(self._styles)))

    def let_go(self) -> None:
        """Leave the viewer and the layers to another section, for good; the value stays."""
        for tool in (
            *(self.grid, self.check, self.second_look, self.check_look),
            *(self.keypoints, self.painted),
        ):
            tool.let_go()
        self.regions.close()

    def set_styles(self, styles: Sequence[ClassStyle]) -> None:
        """Tell names, colours and keys of the classes, background first."""
        self._styles = tuple(styles)
        self._is_loading = True  # as long as some have other classes
        try:
            for tool in (
                *(self.fractions, self.keypoints, self.painted),
                *(self.grid, self.second_look, self.check, self.check_look),
            ):
                tool.set_classes(self._styles)
        finally:
            self._is_loading = False
        self._show_counted()

    def set_source(self, layer: Image | None, source: Source | None) -> None:
        """Point out the annotated image, or that there is none at the moment."""
        for tool in (
            *(self.grid, self.second_look, self.check, self.check_look),
            *(self.keypoints, self.painted),
        ):
            tool.set_source(layer)
        self._draw.setEnabled(layer is not None)
        if layer is not None:
            self.regions.set_frame(SourceFrame(layer))
            self._show_unused()
            self.fractions.set_image(layer)
        if source is not None:
            self.fractions.set_slices(source.stack.n_slices, source.stack.names)
            for tool in (self.fractions, self.grid, self.check):
                tool.set_folder(Path(source.path or "").parent)

    def begin_looking(self, looks: Sequence[Look], *, is_check: bool = False) -> SecondLook:
        """Show nodes of the grids, or of the check count, one after the other; return where."""
        self.show_tab(_CHECK if is_check else _GRID)
        view = self.check_look if is_check else self.second_look
        view.begin(looks)
        return view

    def show_tab(self, index: int) -> None:
        """Bring a tab to the front: fractions, grid, keypoints, painted, check."""
        self._tabs.setCurrentIndex(index)

    def set_folded(self, is_folded: bool) -> None:
        """Take note that no tab is in front, or that one is again."""
        self._is_folded = is_folded
        self._show_page(self._tabs.currentIndex())

    def _lay_out(self) -> None:
        fractions, counting, checking = QWidget(), QWidget(), QWidget()
        self._draw = make_button(
            "Draw rectangle",
            self.regions.start_drawing,
            "Draw rectangles on the image; each gets a row for fractions of its own.\n"
            "Fractions of parts of a slice teach more than those of whole slices.",
        )
        self._draw.setEnabled(False)
        self._unused = Notice(is_warning=True)
        fill_column(fractions, (self.fractions, 1), self._unused, make_row(self._draw, None))
        fill_column(counting, self.second_look, (self.grid, 1))
        fill_column(checking, self.check_look, (self.check, 1))
        # not a QTabWidget, which is as high as its highest page
        self._tabs = QTabBar()
        self._tabs.setDrawBase(False)
        self._tabs.setExpanding(False)
        self._tabs.setUsesScrollButtons(False)  # the dock is as wide as all of them
        self._pages: list[QWidget] = []
        layout = fill_column(self, self._tabs)
        for widget, name, tooltip in (
            (fractions, "Fractions", "State how much of each slice belongs to each class."),
            (counting, "Grid", "Count the nodes of a grid: a fraction, and labels everywhere."),
            (self.keypoints, "Keypoints", "Show where a few structures are, and where none are."),
            (self.painted, "Painted", "Use labels that are painted, such as corrections."),
            (
                checking,
                "Check",
                "Count nodes from which nothing learns. They tell how much the labels err,\nand "
                "so give a fraction with an interval that can be trusted: Estimate under Results.",
            ),
        ):
            index = self._tabs.addTab(name)
            self._tabs.setTabToolTip(index, tooltip)
            self._pages.append(widget)
            layout.addWidget(widget)
        self._tabs.currentChanged.connect(self._show_page)
        self._show_page(0)

    def _show_page(self, index: int) -> None:
        for number, page in enumerate(self._pages):
            page.setVisible(number == index)
        self.grid.key_goes_to = self.check if index == _CHECK else self.grid
        is_check = index == _CHECK and not self._is_folded
        self.grid.step_aside(is_check)
        self.check.step_aside(not is_check)
        self._tell_hidden()

    def _tell_hidden(self) -> None:
        """Tell if labels and maps are to be hidden, lest they lead the eye of who judges nodes."""
        index = -1 if self._is_folded else self._tabs.currentIndex()
        is_looking = index == _GRID and self.second_look.current is not None
        why = "the tab Check is in front" if index == _CHECK else ""
        why = "you look at nodes again" if is_looking else why
        if why != self._hidden_while:
            self._hidden_while = why
            self.results_hidden.emit(why)

    def _on_regions_changed(self) -> None:
        self._show_unused()
        self.fractions.set_regions(self.regions.value())
        self._on_changed()

    def _show_unused(self) -> None:
        """Say that shapes count for nothing."""
        n_unused = self.regions.n_unused
        shapes = counted(n_unused, "shape")
        self._unused.say(_UNUSED.format(shapes) if n_unused else "")

    def _on_grid_changed(self) -> None:
        if not self._is_loading:
            self._show_counted()
            self.value_changed.emit()

    def _show_counted(self) -> None:
        value = self.value()
        self.fractions.set_grid_proportions(value.counted_proportions())
        found = counted_fractions(value)
        text, basis = _told(found if found is not None and found.has_frames else None)
        self.fractions.set_stack_fraction(text, basis)
        rarest = None if found is None else min(found.fractions[1:], default=None)
        self.grid.set_stack_fraction(text, basis, fraction=rarest)
        text, basis = _told(counted_fractions(self.check_value()))
        self.check.set_stack_fraction(text, basis, fraction=rarest)

    def _on_changed(self) -> None:
        if not self._is_loading:
            self.value_changed.emit()


def _told(found: CountedFractions | None) -> tuple[str, str]:
    """What counts say, without a break before a sign of per cent, and what it rests on."""
    text, basis = ("", "") if found is None else map(sentence, found.messages())
    return text.replace(" %", "\u00a0%"), basis
