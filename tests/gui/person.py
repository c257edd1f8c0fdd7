"""A person before a window with a dock, who does all by mouse and keys."""

from __future__ import annotations

import numpy as np
from hand import LEFT, Hand
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QAbstractButton, QTabBar, QWidget

from napari_spss.core.simulation import Sample
from napari_spss.gui.dock import SpssDock
from napari_spss.gui.models import EndKind

PATIENCE_MS = 600_000
NONE = Qt.KeyboardModifier.NoModifier


class Person:
    """Opens the images of a sample and the dock beside them, and knows the truth."""

    def __init__(self, viewer: Viewer, sample: Sample, qtbot: QtBot) -> None:
        viewer.window.resize(1100, 700)
        self.viewer, self.truth, self.qtbot = viewer, sample.truth, qtbot
        pixels = np.stack([sample.stack.read(z)[0] for z in range(sample.stack.n_slices)])
        image = viewer.add_image(pixels, name="em")
        self.dock = SpssDock(viewer, is_probing=False)
        self._frame = viewer.window.add_dock_widget(self.dock, name="Semantic Proportions")
        self.hand = Hand(viewer, image)
        self.ends = []
        self.dock.session.run_ended.connect(self.ends.append)

    def open_tab(self, index: int) -> None:
        """Click a tab of Annotate, which may be folded."""
        if not (section := self.dock.sections["Annotate"]).is_open:
            self.qtbot.mouseClick(section.header, LEFT)
        bar = self.dock.annotate.findChild(QTabBar)
        self.qtbot.mouseClick(bar, LEFT, pos=bar.tabRect(index).center())

    def press(self, key: Qt.Key, modifier: Qt.KeyboardModifier = NONE) -> None:
        """Type a key on the canvas."""
        self.hand.press(key, modifier)

    def push(self, what: QAbstractButton) -> None:
        """Click a button of the dock that is to be seen."""
        assert what.isVisible(), what.text()
        assert what.isEnabled(), what.text()
        self.qtbot.mouseClick(what, LEFT, pos=QPoint(8, what.height() // 2))

    def push_and_wait(self, what: QAbstractButton) -> None:
        """Click a button that begins a run, and watch until it has ended."""
        n_ends, outcome = len(self.ends), self.dock.controller.outcome
        self.push(what)
        self.qtbot.waitUntil(
            lambda: len(self.ends) > n_ends and outcome.is_up_to_date, timeout=PATIENCE_MS
        )
        assert self.ends[-1].kind is EndKind.finished, self.ends[-1].text

    def type_number(self, box: QWidget, value: int) -> None:
        """Type into a number's field."""
        box.selectAll()
        self.qtbot.keyClicks(box, str(value))
        self.qtbot.keyClick(box, Qt.Key.Key_Return)

    def leave(self) -> None:
        """Close the dock and the window."""
        self.viewer.window.remove_dock_widget(self._frame)
        self.viewer.close()
