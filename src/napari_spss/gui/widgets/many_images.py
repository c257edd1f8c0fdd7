"""Many images: which, of which groups, the state and the fractions of each, and of all."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QModelIndex, Qt, Signal, SignalInstance
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QLineEdit,
    QStyledItemDelegate,
    QTableWidgetItem,
    QWidget,
)

from ...core.base import ImageProgress, InputError, SpssError, counted
from ..models import ManyMeasured, ManyRequest, percent_text, tables_in
from .estimates import EstimatesTable
from .parts import Notice, fill_column, make_button, make_choice, make_form, make_row
from .rows import RowTable

if TYPE_CHECKING:
    import pandas as pd

    from ...core.analysis import Estimate
    from ...core.images import ListedImage

_NONE, _BY_FOLDER, _TABLE, _TYPED = "", "folder", "table", "typed"
_STATES = {"done": "done", "kept": "done before", "failed": "failed"}
_GROUP, _STATE, _FRACTION = 1, 2, 3
_CSV = "Table image,group (*.csv)"
_MAX_TOLD = 3
_SEEN = 7  # letters at either end of a long name for which its cell has room


class _MiddleCut(QStyledItemDelegate):
    """Cuts long names in the middle, since their ends tell images apart."""

    def initStyleOption(self, option: Any, index: QModelIndex) -> None:
        super().initStyleOption(option, index)
        option.textElideMode = Qt.TextElideMode.ElideMiddle


class ManyImages(QWidget):
    """States to which images the model is to be applied, and shows what came of each."""

    apply_requested = Signal(object)  # ManyRequest: the model is to be applied to all of them
    measure_requested = Signal(object)  # ManyRequest: the same of measuring their results
    open_requested = Signal(object, object)  # Path, Path: image to be shown, with a result's labels

    def __init__(self) -> None:
        super().__init__()
        self._images: tuple[ListedImage, ...] = ()
        self._groups: dict[Path, str] = {}
        self._results: dict[Path, Path] = {}  # folders, as far as the images have some
        self._results_in: Path | None = None  # where these lie
        self._proposed_out = ""
        self._groups_table: Path | None = None
        self._means: tuple[Estimate, ...] = ()  # of groups
        # the group of each image: of these, and as it was when work was last asked for
        self._means_of: dict[Path, str] = {}
        self._asked_of: dict[Path, str] = {}
        self._can_apply = False
        self._propose: Callable[[], Path] = Path.home
        self._make_form()
        self._make_table()
        self._overall = EstimatesTable()
        self._notice = Notice()
        self._problem = Notice(is_warning=True)
        self._lay_out()
        self._show_images()

    # -- what goes on ----------------------------------------------------------------------------

    def set_place(self, propose: Callable[[], Path]) -> None:
        """Tell who proposes where the folder of results may lie."""
        self._propose = propose

    def set_ready(self, can_apply: bool) -> None:
        """Offer to apply a model and to measure its results, or not."""
        self._can_apply = can_apply
        self._apply.setEnabled(can_apply and bool(self._images))
        self._measure.setEnabled(can_apply and bool(self._results))

    def add(self, paths: Sequence[Path], *, each: bool = False) -> None:
        """Add images, or each file in folders."""
        from ...core.images import left_out, list_images

        try:
            listed = list_images(paths, each=each)
            others = [one.name for path in paths for one in (left_out(path) if each else ())]
            self._images = list_images(one.path for one in (*self._images, *listed))
        except (SpssError, OSError) as error:
            self._problem.say(str(error))
            return
        if not self._out.text() and self._images:
            place = paths[0] if each else paths[0].parent
            self._proposed_out = str(place.with_name(f"{place.name}_results"))
            self._out.setText(self._proposed_out)
        n_more = len(others) - _MAX_TOLD
        names = ", ".join(others[:_MAX_TOLD]) + (f" and {n_more} more" if n_more > 0 else "")
        told = f"{counted(len(others), 'file')} left out as no images: {names}."
        self._notice.say(told if others else "")
        self._problem.say("")
        self._show_images()
        self._recall()
        self._fill_groups()

    def show_begun(self, images: Collection[Path]) -> None:
        """Show which images are to be worked on."""
        self._notice.say("")
        self._problem.say("")
        for row, one in enumerate(self._images):
            if one.path in images:
                self._table.write_cell(row, _STATE, "waiting")

    def take(self, event: ImageProgress) -> None:
        """Show how far an image is."""
        row = self._row_of(event.image)
        if row is None:
            return
        text = _STATES.get(event.state, f"{100 * event.share:.0f} %")
        self._show_state(row, text, event.text)
        self._table.scrollToItem(self._table.item(row, 0))

    def show_table(self, table: pd.DataFrame, folder: Path, warnings: Sequence[str] = ()) -> None:
        """Show the fractions of all images, with the folders in which their results are."""
        self._set_means(())
        self._show_results(table, folder, range(len(self._images)))
        self._notice.say(f"The table of all images is {folder / 'images.csv'}.")
        self._problem.say("\n".join((*self._show_problems(table), *warnings)))
        self.set_ready(self._can_apply)

    def show_measured(
        self, found: ManyMeasured, folder: Path, warnings: Sequence[str] = ()
    ) -> None:
        """Show the estimates of all images, and the means of groups."""
        for row, rows in self._by_row(found.estimated):
            if not rows["problem"].iloc[0]:
                self._show_fractions(row, rows)
        self._set_means(found.overall)
        names = " and ".join(one.name for one in tables_in(folder))
        text = f"Written: {names} in {folder}."
        if not any(self._groups.values()) and len(self._results) > 1:
            text += " Name the group of each image, such as its animal, to have the mean of groups."
        self._notice.say(text)
        told = dict.fromkeys(
            one for table in (found.measured, found.estimated) for one in self._show_problems(table)
        )
        self._problem.say("\n".join((*told, *warnings)))

    def show_failed(self, text: str) -> None:
        """Say why work on the images has ended; none waits for it any more."""
        for row, one in enumerate(self._images):
            if self._cell(row, _STATE) == "waiting":
                is_done = one.path in self._results
                self._show_state(row, _STATES["kept"] if is_done else "not done")
        self.refuse(text)

    def refuse(self, text: str) -> None:
        """Say why nothing is applied, measured or opened; an empty text takes it back."""
        self._problem.say(text)

    # -- inside ----------------------------------------------------------------------------------

    def _make_form(self) -> None:
        self._add_files = make_button(
            "Add files…", self._on_files, "Images to which the model is to be applied."
        )
        self._add_folder = make_button(
            "Add folder…",
            self._on_folder,
            "Every image in a folder, and in those in it: each file, and each OME-Zarr image.",
        )
        self._clear = make_button(
            "Clear", self._on_clear, "Take all images from the list; their results stay."
        )
        self._grouping = make_choice(
            (
                ("none", _NONE),
                ("by folder", _BY_FOLDER),
                ("by a table…", _TABLE),
                ("as typed", _TYPED),
            ),
            "To which group, such as an animal, each image belongs: the name of its folder, what\n"
            "a table image,group says, or what you type in the list. Measure all gives the mean\n"
            "of groups, each of which is one unit, however many images it has.",
        )
        self._grouping.activated.connect(self._on_grouping)
        self._out = QLineEdit()
        self._out.setPlaceholderText("folder for the results")
        self._out.setToolTip("What is written of each image, and the table of all, images.csv.")
        self._out.editingFinished.connect(self._recall)
        self._browse = make_button("…", self._on_browse)
        self._apply = make_button(
            "Apply to all",
            lambda: self._on_work(self.apply_requested),
            "Apply the model to each image, with the averages, the threshold, the size of objects\n"
            "and the holes above, and write maps, labels and tables. What is done already, and\n"
            "unchanged, is kept: so it goes on where it was stopped.",
        )
        self._measure = make_button(
            "Measure all",
            lambda: self._on_work(self.measure_requested),
            "Measure the objects of all results, by the size and splitting of Objects above, and\n"
            "estimate the fractions, corrected by the check count in the folder of a result, if\n"
            "check.csv is there; and the mean of groups with its 95 % interval.",
        )

    def _make_table(self) -> None:
        self._table = RowTable(
            "many images", ("Image", "Group", "State", "Fraction"), (0, _FRACTION)
        )
        self._table.setItemDelegateForColumn(0, _MiddleCut(self._table))
        self._table.setToolTip(
            "Click on an image that is done to open it with its labels; in its column Group to\n"
            "type to which group, such as an animal, it belongs."
        )
        triggers = QAbstractItemView.EditTrigger
        self._table.setEditTriggers(triggers.AnyKeyPressed | triggers.EditKeyPressed)
        self._table.cellClicked.connect(self._on_cell)
        self._table.itemChanged.connect(self._on_item)

    def _lay_out(self) -> None:
        form = make_form(
            ("Groups", self._grouping), ("Results", make_row((self._out, 1), self._browse))
        )
        fill_column(
            *(self, make_row(self._add_files, self._add_folder, self._clear), self._table, form),
            make_row(self._apply, self._measure),
            *(self._overall, self._notice, self._problem),
        )

    def _folder(self) -> Path | None:
        text = self._out.text().strip()
        return Path(os.path.abspath(Path(text).expanduser())) if text else None

    def _recall(self) -> None:
        """Show what was made of the images before in the folder, and the groups they had there."""
        folder = self._folder()
        if folder != self._results_in:
            self._results, self._results_in = {}, folder
            self._set_means(())
            for row in range(len(self._images)):
                self._show_state(row, "")
                self._table.write_cell(row, _FRACTION, "")
        if folder is not None and folder.is_dir():
            from ...core.prediction import read_images_table

            table, measured = read_images_table(folder), read_images_table(tables_in(folder)[1])
            new = [row for row, _ in self._by_row(table) if not self._cell(row, _STATE)]
            self._show_results(table, folder, new)
            for row, rows in (*self._by_row(table), *self._by_row(measured)):
                if row in new and rows["group"].iloc[0]:
                    self._groups[self._images[row].path] = rows["group"].iloc[0]
            for row in new:
                is_done = self._images[row].path in self._results
                self._show_state(row, _STATES["kept"] if is_done else "not done")
            if self._grouping.currentData() == _NONE:
                self._choose_typed()
        self._show_groups()

    def _fill_groups(self) -> None:
        """Give the images their groups by folder or table, if that is chosen."""
        from ...core.images import list_images

        chosen, paths = self._grouping.currentData(), [one.path for one in self._images]
        by = {_BY_FOLDER: _BY_FOLDER, _TABLE: self._groups_table}.get(chosen)
        self._problem.say("")
        try:
            if by is not None and paths:
                self._groups = {one.path: one.group for one in list_images(paths, groups=by)}
        except (SpssError, OSError) as error:
            self._problem.say(str(error))
            self._choose_typed()
        self._show_groups()
        self._show_means()

    def _group_of_each(self) -> dict[Path, str]:
        return {one.path: self._groups.get(one.path, "") for one in self._images}

    def _set_means(self, means: tuple[Estimate, ...]) -> None:
        self._means, self._means_of = means, self._asked_of
        self._show_means()

    def _show_means(self) -> None:
        """Show the means of groups if they are of those in the list."""
        means = self._means if self._means_of == self._group_of_each() else ()
        n_groups = max((one.clusters for one in means), default=0)
        self._overall.show_estimates(means, f"Mean of {counted(n_groups, 'group')}:")

    def _choose_typed(self) -> None:
        """Say that groups are those that stand in the list, if there are any."""
        chosen = _TYPED if any(self._groups.values()) else _NONE
        self._grouping.setCurrentIndex(self._grouping.findData(chosen))

    def _show_images(self) -> None:
        """List the images, of which the first ones may be listed already."""
        n_before = self._table.rowCount()
        self._table.setRowCount(len(self._images))
        often = Counter(one.path.name for one in self._images)
        # those of one name are called as their results
        names = [one.path.name if often[one.path.name] == 1 else one.name for one in self._images]
        for row, (one, text) in enumerate(zip(self._images, _telling(names), strict=True)):
            self._table.write_cell(row, 0, text, tip=str(one.path))
            for column in (_GROUP, _STATE, _FRACTION) if row >= n_before else ():
                self._table.write_cell(row, column, "", can_edit=column == _GROUP)
        self._table.setVisible(bool(self._images))
        self._clear.setEnabled(bool(self._images))
        self._show_groups()

    def _show_groups(self) -> None:
        for row, one in enumerate(self._images):
            self._table.item(row, _GROUP).setText(self._groups.get(one.path, ""))
        self.set_ready(self._can_apply)

    def _show_state(self, row: int, text: str, tip: str = "") -> None:
        self._table.write_cell(row, _STATE, text, tip=tip)

    def _show_results(self, table: pd.DataFrame, folder: Path, among: Collection[int]) -> None:
        """Show the fractions of some rows, and know where their results are."""
        for row, rows in self._by_row(table):
            path, is_done = self._images[row].path, not rows["problem"].iloc[0]
            if row not in among:
                continue
            self._results.pop(path, None)
            self._table.write_cell(row, _FRACTION, "")
            if is_done:
                self._results[path] = folder / str(rows["folder"].iloc[0])
                self._show_fractions(row, rows)

    def _show_fractions(self, row: int, rows: pd.DataFrame) -> None:
        """Show those of the classes, with their intervals; of estimates the corrected ones."""
        known = rows[rows["fraction"] != ""]
        if "method" in rows:
            is_of_labels = known["method"].str.startswith("labels")
            known = known[is_of_labels].drop_duplicates("class", keep="last")
        else:
            known = known[known["class"] != rows["class"].iloc[0]]
        texts, tips = [], []
        for one in known.to_dict("records"):
            text = f"{percent_text(float(one['fraction']))}\u00a0%"
            if one["low"]:
                low, high = (percent_text(float(one[key])) for key in ("low", "high"))
                text += f" ({low}\u2013{high}\u00a0%)"
            texts.append(text)
            tips.append(f"{one['class']} ({one.get('method') or 'labels, uncorrected'}): {text}")
        self._table.write_cell(row, _FRACTION, ", ".join(texts), tip="\n".join(tips))

    def _show_problems(self, table: pd.DataFrame) -> list[str]:
        """Show which images failed, or were not come to; say why the first ones failed."""
        from ...core.prediction import NOT_DONE

        told = []
        for row, rows in self._by_row(table):
            if problem := str(rows["problem"].iloc[0]):
                is_failed = problem != NOT_DONE
                self._show_state(row, "failed" if is_failed else "not done", problem)
                told += [f"{self._cell(row, 0)}: {problem}"] * is_failed
        return told[:_MAX_TOLD]

    def _by_row(self, table: pd.DataFrame) -> Iterator[tuple[int, pd.DataFrame]]:
        """Rows of a table for each image that is listed, or for its result."""
        for image, rows in () if table.empty else table.groupby("image", sort=False):
            row = self._row_of(str(image))
            if row is not None:
                yield row, rows

    def _row_of(self, path: str) -> int | None:
        known = Path(path)
        return next(
            (
                row
                for row, one in enumerate(self._images)
                if known in (one.path, self._results.get(one.path))
            ),
            None,
        )

    def _cell(self, row: int, column: int) -> str:
        return self._table.item(row, column).text()

    def _on_files(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Add images", str(self._start()))
        if names:
            self.add([Path(name) for name in names])

    def _on_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Add all images in", str(self._start()))
        if name:
            self.add([Path(name)], each=True)

    def _start(self) -> Path:
        return self._images[-1].path.parent if self._images else self._propose().parent

    def _on_clear(self) -> None:
        self._images, self._groups, self._results = (), {}, {}
        if self._out.text() == self._proposed_out:
            self._out.clear()  # the next images have another folder
        self._set_means(())
        self._notice.say("")
        self._problem.say("")
        self._show_images()

    def _on_grouping(self) -> None:
        chosen = self._grouping.currentData()
        if chosen == _NONE:
            self._groups = {}
        elif chosen == _TABLE:
            name, _ = QFileDialog.getOpenFileName(self, "Groups", str(self._start()), _CSV)
            if not name:
                self._choose_typed()
                return
            self._groups_table = Path(name)
        self._fill_groups()

    def _on_browse(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Results of all", str(self._start()))
        if name:
            self._out.setText(name)
            self._recall()

    def _on_work(self, wanted: SignalInstance) -> None:
        from ...core.images import list_images

        self._recall()
        folder, paths = self._folder(), [one.path for one in self._images]
        groups = self._group_of_each()
        try:
            if folder is None:
                raise InputError("Name a folder for the results.")
            request = ManyRequest(
                tuple(paths), folder, groups if any(groups.values()) else None, dict(self._results)
            )
            list_images(paths, groups=request.groups)
        except InputError as error:
            self._problem.say(str(error))
        else:
            self._asked_of = groups
            wanted.emit(request)

    def _on_cell(self, row: int, column: int) -> None:
        path = self._images[row].path
        if column == _GROUP:
            self._table.editItem(self._table.item(row, column))
        elif path in self._results:
            self.open_requested.emit(path, self._results[path])

    def _on_item(self, item: QTableWidgetItem) -> None:
        """Take a group that was typed."""
        path = self._images[item.row()].path if item.column() == _GROUP else None
        if path is not None and item.text().strip() != self._groups.get(path, ""):
            self._groups[path] = item.text().strip()
            self._choose_typed()
            self._show_means()


def _telling(names: Sequence[str]) -> list[str]:
    """Leave out the words that all names begin and end with, if what is seen of them is alike.

    >>> _telling(["sub-rat1_sample_SEM.png", "sub-rat2_sample_SEM.png"])
    ['rat1', 'rat2']
    >>> _telling(["sub-rat_10.5nm_SEM.png", "sub-rat_10.7nm_SEM.png"])
    ['10.5nm', '10.7nm']
    >>> _telling(["sub-rat_a-_sample.png", "sub-rat_a_sample.png"])
    ['sub-rat_a-_sample.png', 'sub-rat_a_sample.png']
    >>> _telling(["control.tif", "treated.tif"])
    ['control.tif', 'treated.tif']
    """
    if len({(name[:_SEEN], name[-_SEEN:]) for name in names}) == len(names):
        return list(names)
    words = [re.split(r"(?<=[\W_])(?!(?<=\d\.)\d)", name) for name in names]
    rests = [of_name[_n_alike(words) :] for of_name in words]
    n_last = _n_alike([rest[::-1] for rest in rests])
    cut = ["".join(rest[: len(rest) - n_last]).rstrip("-_. ") for rest in rests]
    return cut if all(cut) and len(set(cut)) == len(names) else list(names)


def _n_alike(words: Sequence[Sequence[str]]) -> int:
    """How many words all begin with."""
    alike = itertools.takewhile(lambda one: len(set(one)) == 1, zip(*words, strict=False))
    return sum(1 for _ in alike)
