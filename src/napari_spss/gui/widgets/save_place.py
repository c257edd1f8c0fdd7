"""Where and how results are saved: asked below the buttons, with what is in the way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qtpy.QtCore import QCoreApplication, QEvent, Signal
from qtpy.QtGui import QHideEvent
from qtpy.QtWidgets import QFileDialog, QLineEdit, QScrollArea, QWidget

from ...core.images import WRITERS
from .parts import Notice, fill_column, make_button, make_choice, make_row, offer

_SAVE, _REPLACE = "Save", "Replace them"
_FORMAT_NAMES = {"tif": "OME-TIFF", "zarr": "OME-Zarr"}

_ABOUT = """Format of labels and maps: OME-TIFF is one file of each, which Fiji opens without
plugins; OME-Zarr is a folder of each, with smaller copies, for large images."""


class SavePlace(QWidget):
    """Asks for a folder, which need not exist, and a format; hidden unless it asks.

    ``formats`` maps each to what it is called; default: those of labels and maps.
    """

    chosen = Signal(str, str, bool)  # folder, format, whether what is in the way may be replaced

    def __init__(self, formats: Mapping[str, str] | None = None, tooltip: str = _ABOUT) -> None:
        super().__init__()
        self._formats = formats
        self._proposed = Path()
        self._folder = QLineEdit()
        self._folder.setToolTip("A folder; it is made if it does not exist.")
        self._folder.textEdited.connect(lambda: self.refuse(""))
        self._folder.returnPressed.connect(lambda: self._choose(may_replace=False))
        browse = make_button("…", self._on_browse, "Choose a folder that exists.")
        self._format = make_choice((), tooltip)
        self._notice = Notice(is_warning=True)
        self._save = make_button(
            "", lambda: self._choose(may_replace=self._save.text() == _REPLACE)
        )
        cancel = make_button("Cancel", self.hide)
        fill_column(
            *(self, make_row((self._folder, 1), browse), self._notice),
            make_row(self._format, self._save, cancel),
        )
        self.hide()

    def ask(self, proposed: Path) -> None:
        """Ask, with a folder that may be accepted as it is."""
        self._proposed = proposed
        self._folder.setText(str(proposed))
        if not self._format.count():  # what is installed takes long to look through
            formats = self._formats or {n: _FORMAT_NAMES.get(n, n) for n in WRITERS.names()}
            offer(self._format, ((text, name) for name, text in formats.items()))
        self.refuse("")
        self._folder.setFocus()

    def refuse(self, text: str, *, can_replace: bool = False) -> None:
        """Say why nothing is saved there, and whether the user may have it replaced."""
        self._notice.say(text)
        self._save.setText(_REPLACE if can_replace else _SAVE)
        self.show()
        self._come_into_view()

    def take_back(self) -> None:
        """Leave out why nothing was saved, which may hold no more."""
        if self._save.text() != _REPLACE:
            self._notice.say("")

    def hideEvent(self, event: QHideEvent) -> None:
        """Give the focus away, which Qt would hand to a widget far from here, and scroll to it."""
        focused = self.focusWidget()
        if focused is not None:
            focused.clearFocus()
        super().hideEvent(event)

    def _come_into_view(self) -> None:
        """Scroll to where this is asked, as it appears below what was clicked."""
        around = self.parentWidget()
        while around is not None and not isinstance(around, QScrollArea):
            around = around.parentWidget()
        if around is not None:
            # until the layouts know of this widget it has no place
            QCoreApplication.sendPostedEvents(None, QEvent.Type.LayoutRequest.value)
            around.ensureWidgetVisible(self)

    def _choose(self, *, may_replace: bool) -> None:
        text = self._folder.text().strip()
        if text:
            folder = self._proposed.parent / Path(text).expanduser()
            self.chosen.emit(str(folder), self._format.currentData(), may_replace)
        else:
            self.refuse("Name a folder.")

    def _on_browse(self) -> None:
        start = next(one for one in (self._proposed, *self._proposed.parents) if one.is_dir())
        folder = QFileDialog.getExistingDirectory(self, "Save to a folder", str(start))
        if folder:
            self._folder.setText(folder)
            self.refuse("")
