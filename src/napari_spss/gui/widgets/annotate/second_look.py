"""The second look: nodes about which map and person differ, one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QPushButton, QWidget

from ....core.annotations import UNSURE, ClassStyle, Look, looks_summary
from ...layers import (
    LOOK_LAYER,
    REDO_KEY,
    UNDO_KEY,
    LookMarker,
    SourceFrame,
    class_key,
    refused_text,
    shown_key,
)
from ...models import follow_classes
from ..parts import Notice, fill_column, make_button, make_row, make_text, shrink

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Points

    from .grid import GridTool

_CLASSES_A_ROW = 2
KEEP_KEY, UNSURE_KEY, NEXT_KEY, BACK_KEY = _OWN_KEYS = "K", "U", "N", "B"


class SecondLook(QWidget):
    """Shows one doubtful node after the other: keep it, change its class, or leave it unsure.

    What is said goes into the grids of the counting tool, whose history takes it back; a node that
    was looked at bears a mark there. Nodes of a check count are those that contradict the labels.
    Hidden as long as there is nothing to look at.
    """

    value_changed = Signal()  # there are other nodes to look at
    moved = Signal()  # another node is looked at, or none

    def __init__(self, viewer: ViewerModel, grid: GridTool, *, is_check: bool = False) -> None:
        super().__init__()
        self._is_check = is_check
        self._grid = grid
        self._styles: tuple[ClassStyle, ...] = ()
        self._looks: tuple[Look, ...] = ()
        self._n_before = 0  # of an earlier list, which are not shown
        self._current: int | None = None
        self._refused_keys: tuple[str, ...] = ()
        self._class_buttons: list[QPushButton] = []
        self._marker = LookMarker(viewer, "check second look" if is_check else LOOK_LAYER)
        self._marker.pixel_ratio = self.devicePixelRatioF()
        self.destroyed.connect(self._marker.close)
        self._build()
        grid.value_changed.connect(self._refresh)
        self.setVisible(False)

    def let_go(self) -> None:
        """Leave the viewer and the layer to another tool, for good."""
        self._marker.close()

    def _build(self) -> None:
        self._text, self._progress = make_text(), make_text()
        self._problems = Notice(is_warning=True)
        self._keep = self._button(f"Keep ({KEEP_KEY})", self.keep, "It is what you said.")
        self._unsure = self._button(
            f"Unsure ({UNSURE_KEY})",
            partial(self.judge, UNSURE),
            "It cannot be told: the node counts no more.",
        )
        self._back = self._button(
            "Back", partial(self.walk, step=-1), f"The node before ({BACK_KEY})."
        )
        self._next = self._button(
            "Later", self.walk, f"The next node; this one stays to be looked at ({NEXT_KEY})."
        )
        self._undo = self._button(
            "Undo", self.undo, f"Take the last step back ({shown_key(UNDO_KEY)})."
        )
        self._end = self._button("End", self.end, "Look at no more nodes; what you said stays.")
        self._classes = QGridLayout()
        layout = fill_column(
            *(self, make_text("<b>Second look</b>"), self._text),
            *(make_row(self._keep, self._unsure), self._classes),
            make_row(self._back, self._next, self._undo, self._end),
            *(self._progress, self._problems),
        )
        layout.setContentsMargins(0, 0, 0, 6)

    def _button(self, text: str, act: Callable[[], object], tooltip: str) -> QPushButton:
        def press() -> None:
            self.setFocus()  # the button may be disabled then, and a field would get the keys
            act()

        return make_button(text, press, tooltip)

    # ---- the widget's value -----------------------------------------------------------------

    def value(self) -> tuple[Look, ...]:
        """All nodes of this list and of earlier ones, with what was said at the second look."""
        return self._seen(self._looks)

    def set_value(self, looks: Iterable[Look]) -> None:
        """Replace all nodes, as for another image; those that are on no grid are left out."""
        n_classes = len(self._styles)
        self._looks = tuple(
            look
            for look in looks
            if self._grid.book.has_node(look) and max(look.stated, look.by_map) < n_classes
        )
        is_over = not any(map(self._is_open, self._looks))
        self._n_before, self._current = len(self._looks) if is_over else 0, None
        self._marker.hide()
        self._show_current()

    def begin(self, looks: Iterable[Look]) -> None:
        """List other nodes, and go to the first; what was said of earlier ones still counts."""
        before = [look for look in self._looks if self._grid.book.verdict(look) is not None]
        self._looks = (*before, *looks)
        self._n_before, self._current = len(before), None
        self._go_on()
        self.value_changed.emit()

    def set_source(self, layer: Image | None) -> None:
        """Point out the image; the one that the grid tool has."""
        if layer is not None:
            self._marker.set_frame(SourceFrame(layer))

    def set_classes(self, styles: Sequence[ClassStyle]) -> None:
        """Set the classes, background first; call it after the grid tool's."""
        old, new = ([style.name for style in these] for these in (self._styles, styles))
        mapping = follow_classes(old, new)
        self._styles = tuple(styles)
        moved = []
        for look in self._looks:
            stated, by_map = mapping[look.stated], mapping[look.by_map]
            if stated is not None and by_map is not None:
                moved.append(dataclasses.replace(look, stated=stated, by_map=by_map))
        if len(moved) < len(self._looks):
            self._n_before, self._current = 0, None
        self._looks = tuple(moved)
        for button in self._class_buttons:
            button.hide()  # it is drawn until it is deleted
            button.deleteLater()
        self._class_buttons = []
        for index, style in enumerate(styles):
            has_key = style.key and class_key(style.key) not in _OWN_KEYS
            key = f" ({shown_key(style.key)})" if has_key else ""
            text, tooltip = f"{style.name}{key}", f"It is {style.name}{key}."
            button = self._button(text.replace("&", "&&"), partial(self.judge, index), tooltip)
            shrink(button)
            self._class_buttons.append(button)
        self._bind_keys()
        self._show_current()

    @property
    def layer(self) -> Points | None:
        """Layer that rings the node, if there is one."""
        return self._marker.layer

    @property
    def current(self) -> Look | None:
        """The node that is looked at."""
        return None if self._current is None else self._looks[self._current]

    # ---- what the user does -----------------------------------------------------------------

    def keep(self) -> None:
        """Say that the node is what it was said to be."""
        if self.current is not None:
            self.judge(self.current.stated)

    def judge(self, verdict: int) -> None:
        """Say what the node is, and go on to the next."""
        if self.current is not None:
            self._grid.judge_again(self.current, verdict)
            self._go_on()

    def walk(self, *, step: int = 1) -> None:
        """Go to the next node of the list, or the one before, and say nothing of this one."""
        if self._current is None and step > 0:
            self._go_on()
            return
        start = len(self._looks) if self._current is None else self._current
        order = range(start + step, len(self._looks) if step > 0 else self._n_before - 1, step)
        target = next((i for i in order if self._grid.book.has_node(self._looks[i])), None)
        if target is not None:
            self._go_to(target)

    def undo(self) -> None:
        """Take the last step back, and go to its node; nothing as long as no node was looked at."""
        if self._can_undo():
            self._travel(self._grid.undo)

    def redo(self) -> None:
        """Repeat the step that was last taken back."""
        self._travel(self._grid.redo)

    def end(self) -> None:
        """Look at no more nodes; those that were looked at stay so."""
        self._looks = tuple(one for one in self._looks if self._grid.book.verdict(one) is not None)
        self._n_before, self._current = len(self._looks), None
        self._marker.hide()
        self._show_current()
        self.value_changed.emit()

    def _travel(self, act: Callable[[], None]) -> None:
        before = list(map(self._grid.book.verdict, self._looks))
        act()
        after = map(self._grid.book.verdict, self._looks)
        pairs = enumerate(zip(before, after, strict=True))
        changed = next((place for place, (old, new) in pairs if old != new), None)
        if changed is not None and changed >= self._n_before:
            self._go_to(changed)

    def _go_on(self) -> None:
        """Go to the next node that was not looked at, going round; or tell that there is none."""
        start = self._n_before if self._current is None else self._current + 1
        order = [*range(start, len(self._looks)), *range(self._n_before, start)]
        target = next((i for i in order if self._is_open(self._looks[i])), None)
        if target is None:
            self._current = None
            self._marker.hide()
            self._show_current()
        else:
            self._go_to(target)

    def _can_undo(self) -> bool:
        looks = self._seen(self._looks[self._n_before :])
        return self._grid.book.history.canUndo() and any(look.verdict is not None for look in looks)

    def _is_open(self, look: Look) -> bool:
        return self._grid.book.has_node(look) and self._grid.book.verdict(look) is None

    def _seen(self, looks: Iterable[Look]) -> tuple[Look, ...]:
        """Those whose grid is there, with what was said."""
        return tuple(
            dataclasses.replace(look, verdict=self._grid.book.verdict(look))
            for look in looks
            if self._grid.book.has_node(look)
        )

    def _go_to(self, index: int) -> None:
        self._current = index
        self._grid.look_at(self._looks[index])
        if self._marker.show(self._looks[index]):
            self._bind_keys()
        self._show_current()

    # ---- what is shown ----------------------------------------------------------------------

    def _refresh(self) -> None:
        """Follow the grids, which may be removed and come back."""
        if self.current is not None and not self._grid.book.has_node(self.current):
            self._current = None
            self._marker.hide()
        self._show_current()

    def _show_current(self) -> None:
        looks = self._seen(self._looks[self._n_before :])
        self.setVisible(bool(looks))
        look = self.current
        for button in (self._keep, self._unsure, *self._class_buttons):
            button.setEnabled(look is not None)
        others = [
            button
            for index, button in enumerate(self._class_buttons)
            if look is None or index != look.stated
        ]
        for button in self._class_buttons:
            self._classes.removeWidget(button)
        for place, button in enumerate(others):
            self._classes.addWidget(button, *divmod(place, _CLASSES_A_ROW))
        for button in self._class_buttons:
            button.setVisible(button in others)
        is_over = all(one.verdict is not None for one in looks)
        self._back.setEnabled(look is None or self._current != self._n_before)
        self._next.setEnabled(
            not is_over if look is None else self._current != len(self._looks) - 1
        )
        self._next.setText("Go on" if look is None else "Later")
        self._undo.setEnabled(self._can_undo())
        self._end.setText("Close" if is_over else "End")
        self._text.setText("" if look is None else self._sentence(look))
        self._text.setVisible(look is not None)
        all_seen = (
            "Press Estimate under Results."
            if self._is_check
            else "Press Continue under Train to go on with them, or Train to start anew."
        )
        summary = looks_summary(looks)
        self._progress.setText(f"{summary}. {all_seen}" if is_over else f"{summary}.")
        self._problems.say(refused_text(self._refused_keys))
        self.moved.emit()

    def _sentence(self, look: Look) -> str:
        assert self._current is not None
        number, of = self._current - self._n_before + 1, len(self._looks) - self._n_before
        stated, by_map = (escape(self._styles[c].name) for c in (look.stated, look.by_map))
        text = f"Node {number} of {of}, slice {look.region.slice}. You said <b>{stated}</b>, "
        if self._is_check:
            text += f"the labels say <b>{by_map}</b>. Trust your eyes: labels err, too."
        else:
            so = "so, too" if look.by_map == look.stated else f"<b>{by_map}</b>"
            percent = round(100 * look.probability)
            likely = "over 99" if percent > 99 else percent
            text += f"the map says {so}. You were wrong with a probability of {likely}&nbsp;%."
        verdict = self._grid.book.verdict(look)
        if verdict is None:
            return text
        now = "unsure" if verdict == UNSURE else escape(self._styles[verdict].name)
        return f"{text} <b>Now: {now}.</b>"

    def _bind_keys(self) -> None:
        if self._marker.layer is None:
            return
        keys: dict[str, Callable[[], None]] = {
            class_key(style.key): partial(self.judge, index)
            for index, style in enumerate(self._styles)
        }
        keys |= {  # a class of which one is the key is chosen by its button
            KEEP_KEY: self.keep,
            UNSURE_KEY: partial(self.judge, UNSURE),
            NEXT_KEY: self.walk,
            BACK_KEY: partial(self.walk, step=-1),
            UNDO_KEY: self.undo,
            REDO_KEY: self.redo,
        }
        self._refused_keys = self._marker.bind_keys(keys)
