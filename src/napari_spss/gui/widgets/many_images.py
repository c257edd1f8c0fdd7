"""Many images: which, the state and the fractions of each, and the way to its labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ...core.base import ImageProgress, SpssError, percent
from ..models import ManyRequest, format_percent
from .notice import Notice
from .rows import fit_rows, make_rows, write_cell

if TYPE_CHECKING:
    import pandas as pd

    from ...core.images import ListedImage

_NONE, _BY_FOLDER, _TABLE = "", "folder", "table"
_STATES = {"done": "done", "kept": "done before", "failed": "failed"}
_STATE, _FRACTION = 2, 3
_CSV = "Table image,group (*.csv)"


class ManyImages(QWidget):
    """States to which images the model is to be applied, and shows what came of each.

    Signals
    -------
    apply_requested(ManyRequest)
        The model is to be applied to all of them.
    open_requested(Path, Path)
        An image is to be shown with the labels in a folder of results.
    """

    apply_requested = Signal(object)
    open_requested = Signal(object, object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._paths: tuple[Path, ...] = ()
        self._images: tuple[ListedImage, ...] = ()
        self._results: dict[Path, Path] = {}
        self._groups_table: Path | None = None
        self._can_apply = False
        self._propose: Callable[[], Path] = Path.home
        self._make_form()
        self._table = make_rows("many images", ("Image", "Group", "State", "Fraction"))
        self._table.setToolTip("Click on an image that is done to open it with its labels.")
        self._table.cellClicked.connect(self._on_row)
        self._notice = Notice()
        self._problem = Notice(is_warning=True)
        self._lay_out()
        self._show_images()

    # -- what goes on ----------------------------------------------------------------------------

    def set_place(self, propose: Callable[[], Path]) -> None:
        """Tell who proposes where the folder of results may lie."""
        self._propose = propose

    def set_ready(self, can_apply: bool) -> None:
        """Offer to apply a model, or not."""
        self._can_apply = can_apply
        self._apply.setEnabled(can_apply and bool(self._paths))

    def add(self, paths: Sequence[Path], *, each: bool = False) -> None:
        """Add images, or each file in folders."""
        from ...core.images import list_images

        try:
            listed = list_images(paths, each=each)
        except (SpssError, OSError) as error:
            self._problem.say(str(error))
            return
        self._paths = tuple(dict.fromkeys((*self._paths, *(one.path for one in listed))))
        if not self._out.text() and self._paths:
            place = paths[0] if each else paths[0].parent
            self._out.setText(str(place.with_name(f"{place.name}_results")))
        self._list()

    def take(self, event: ImageProgress) -> None:
        """Show how far an image is."""
        row = self._row_of(Path(event.image))
        if row is None:
            return
        text = _STATES.get(event.state, f"{100 * event.share:.0f} %")
        write_cell(self._table, row, _STATE, text)
        self._table.item(row, _STATE).setToolTip(event.text)
        self._table.scrollToItem(self._table.item(row, 0))

    def show_table(self, table: pd.DataFrame, folder: Path) -> None:
        """Show the fractions of all images, with the folders in which their results are."""
        from ...core.prediction import NOT_DONE

        for image, rows in table.groupby("image", sort=False):
            row = self._row_of(Path(str(image)))
            if row is None:
                continue
            problem = str(rows["problem"].iloc[0])
            if problem:
                write_cell(
                    self._table, row, _STATE, "not done" if problem == NOT_DONE else "failed"
                )
                self._table.item(row, _STATE).setToolTip(problem)
                continue
            self._results[self._images[row].path] = folder / str(rows["folder"].iloc[0])
            known = rows.loc[rows["fraction"] != "", ["class", "fraction"]].iloc[1:]
            fractions = known["fraction"].astype(float)
            text = ", ".join(format_percent(one, digits=2) for one in fractions)
            write_cell(self._table, row, _FRACTION, f"{text} %")
            told = zip(known["class"], fractions, strict=True)
            names = ", ".join(f"{name} {percent(fraction)}" for name, fraction in told)
            self._table.item(row, _FRACTION).setToolTip(names)
        is_failed = ~table["problem"].isin(["", NOT_DONE])
        failed = table.loc[is_failed, ["image", "problem"]].drop_duplicates()
        self._notice.say(f"The table of all images is {folder / 'images.csv'}.")
        self._problem.say(
            "\n".join(f"{Path(image).name}: {why}" for image, why in failed.to_numpy()[:3])
        )

    def refuse(self, text: str) -> None:
        """Say why nothing is applied, or opened; an empty text takes it back."""
        self._problem.say(text)

    # -- inside ----------------------------------------------------------------------------------

    def _make_form(self) -> None:
        self._add_files = QPushButton("Add files…")
        self._add_files.setToolTip("Images to which the model is to be applied.")
        self._add_files.clicked.connect(self._on_files)
        self._add_folder = QPushButton("Add folder…")
        self._add_folder.setToolTip(
            "Every image in a folder, and in those in it: each file, and each OME-Zarr image."
        )
        self._add_folder.clicked.connect(self._on_folder)
        self._clear = QPushButton("Clear")
        self._clear.setToolTip("Take all images from the list; their results stay.")
        self._clear.clicked.connect(self._on_clear)
        self._groups = QComboBox()
        for text, value in (("none", _NONE), ("by folder", _BY_FOLDER), ("by a table…", _TABLE)):
            self._groups.addItem(text, value)
        self._groups.setToolTip(
            "To which group, such as an animal, each image belongs: the name of its folder, or\n"
            "what a table image,group says. It becomes a column of the table of all images."
        )
        self._groups.activated.connect(self._on_groups)
        self._out = QLineEdit()
        self._out.setPlaceholderText("folder for the results")
        self._out.setToolTip("What is written of each image, and the table of all, images.csv.")
        self._browse = QPushButton("…")
        self._browse.clicked.connect(self._on_browse)
        self._apply = QPushButton("Apply to all")
        self._apply.setToolTip(
            "Apply the model to each image, with the threshold and the averages above, and write\n"
            "maps, labels and tables. What is done already, and unchanged, is kept: so it goes on\n"
            "where it was stopped. Holes are not filled, nor small pieces removed."
        )
        self._apply.clicked.connect(self._on_apply)

    def _lay_out(self) -> None:
        adding, place = QHBoxLayout(), QHBoxLayout()
        for button in (self._add_files, self._add_folder, self._clear):
            adding.addWidget(button)
        place.addWidget(self._out, 1)
        place.addWidget(self._browse)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Groups", self._groups)
        form.addRow("Results", place)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(adding)
        layout.addWidget(self._table)
        layout.addLayout(form)
        for widget in (self._apply, self._notice, self._problem):
            layout.addWidget(widget)

    def _folder(self) -> Path | None:
        text = self._out.text().strip()
        return Path(text).expanduser() if text else None

    def _grouping(self) -> str | None:
        value = self._groups.currentData()
        return str(self._groups_table) if value == _TABLE else value or None

    def _list(self) -> None:
        """List the images anew, as with other groups."""
        from ...core.images import list_images

        self._problem.say("")
        try:
            self._images = list_images(self._paths, groups=self._grouping())
        except (SpssError, OSError) as error:
            self._groups.setCurrentIndex(0)
            self._images = list_images(self._paths)
            self._problem.say(str(error))
        self._show_images()

    def _show_images(self) -> None:
        states = {one: self._cell(row, _STATE) for row, one in enumerate(self._shown())}
        fractions = {one: self._cell(row, _FRACTION) for row, one in enumerate(self._shown())}
        self._table.setRowCount(len(self._images))
        for row, one in enumerate(self._images):
            path = str(one.path)
            cells = (one.path.name, one.group, states.get(path, ""), fractions.get(path, ""))
            for column, text in enumerate(cells):
                write_cell(self._table, row, column, text)
            self._table.item(row, 0).setToolTip(path)
        self._table.setColumnHidden(1, self._groups.currentData() == _NONE)
        self._table.setVisible(bool(self._images))
        fit_rows(self._table)
        self._clear.setEnabled(bool(self._images))
        self.set_ready(self._can_apply)

    def _shown(self) -> list[str]:
        return [self._table.item(row, 0).toolTip() for row in range(self._table.rowCount())]

    def _cell(self, row: int, column: int) -> str:
        return self._table.item(row, column).text()

    def _row_of(self, path: Path) -> int | None:
        return next((row for row, one in enumerate(self._images) if one.path == path), None)

    def _on_files(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Add images", str(self._start()))
        if names:
            self.add([Path(name) for name in names])

    def _on_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Add all images in", str(self._start()))
        if name:
            self.add([Path(name)], each=True)

    def _start(self) -> Path:
        return self._paths[-1].parent if self._paths else self._propose().parent

    def _on_clear(self) -> None:
        self._paths, self._images = (), ()
        self._table.setRowCount(0)
        self._notice.say("")
        self._problem.say("")
        self._show_images()

    def _on_groups(self) -> None:
        if self._groups.currentData() == _TABLE:
            name, _ = QFileDialog.getOpenFileName(self, "Groups", str(self._start()), _CSV)
            self._groups_table = Path(name) if name else None
            if not name:
                self._groups.setCurrentIndex(0)
        self._list()

    def _on_browse(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Results of all", str(self._start()))
        if name:
            self._out.setText(name)

    def _on_apply(self) -> None:
        folder = self._folder()
        if folder is None:
            self._problem.say("Name a folder for the results.")
            return
        self._problem.say("")
        self._notice.say("")
        for row in range(self._table.rowCount()):
            write_cell(self._table, row, _STATE, "waiting")
        self.apply_requested.emit(ManyRequest(self._paths, folder, self._grouping()))

    def _on_row(self, row: int, _column: int) -> None:
        path = self._images[row].path
        if path in self._results:
            self.open_requested.emit(path, self._results[path])
