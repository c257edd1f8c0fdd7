"""Where and how results are saved: asked below the buttons, with what is in the way."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from qtpy.QtCore import QCoreApplication, QEvent, Signal
from qtpy.QtGui import QHideEvent
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from ...core.images import WRITERS
from .notice import Notice

_SAVE, _REPLACE = "Save", "Replace them"
_FORMAT_NAMES = {"tif": "OME-TIFF", "zarr": "OME-Zarr"}

_ABOUT = """Format of labels and maps: OME-TIFF is one file of each, which Fiji opens without
plugins; OME-Zarr is a folder of each, with smaller copies, for large images."""


class SavePlace(QWidget):
    """Asks for a folder, which need not exist; hidden unless it asks.

    Parameters
    ----------
    formats : mapping of str to str, optional
        What to call each format; default: those of labels and maps.
    tooltip : str
        What the formats are for.
    """

    chosen = Signal(str, str, bool)  # folder, format, whether what is in the way may be replaced

    def __init__(
        self,
        formats: Mapping[str, str] | None = None,
        tooltip: str = _ABOUT,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._formats = formats
        self._proposed = Path()
        self._folder = QLineEdit()
        self._folder.setToolTip("A folder; it is made if it does not exist.")
        self._folder.textEdited.connect(lambda: self.refuse(""))
        self._folder.returnPressed.connect(lambda: self._choose(may_replace=False))
        browse = QPushButton("…")
        browse.setToolTip("Choose a folder that exists.")
        browse.clicked.connect(self._on_browse)
        self._format = QComboBox()
        self._format.setToolTip(tooltip)
        self._notice = Notice(is_warning=True)
        self._save = QPushButton()
        self._save.clicked.connect(lambda: self._choose(may_replace=self._save.text() == _REPLACE))
        cancel = QPushButton("Cancel")
        cancel.clicked.connect(self.hide)
        place, buttons = QHBoxLayout(), QHBoxLayout()
        place.addWidget(self._folder, 1)
        place.addWidget(browse)
        buttons.addWidget(self._format)
        buttons.addWidget(self._save)
        buttons.addWidget(cancel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(place)
        layout.addWidget(self._notice)
        layout.addLayout(buttons)
        self.hide()

    def ask(self, proposed: Path) -> None:
        """Ask, with a folder that may be accepted as it is."""
        self._proposed = proposed
        self._folder.setText(str(proposed))
        if not self._format.count():  # what is installed takes long to look through
            formats = self._formats or {n: _FORMAT_NAMES.get(n, n) for n in WRITERS.names()}
            for name, text in formats.items():
                self._format.addItem(text, name)
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
