"""The list of classes: name, colour and key of each; the background comes first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from qtpy.QtCore import QSignalBlocker, QSize, Signal
from qtpy.QtGui import QColor, QFont, QIcon, QPixmap
from qtpy.QtWidgets import QColorDialog, QComboBox, QLineEdit, QToolButton, QVBoxLayout, QWidget

from ...core.annotations import PALETTE, Classes, ClassStyle, class_name_fault, match_class
from ..layers import shown_key
from .parts import Notice, fill_column, fill_row, make_button, make_check, make_row
from .theme import set_mark

# Letters that no layer of napari binds; B, D, G, N and U are left to the counting grid, K to the
# second look.
CLASS_KEYS = (
    *("Q", "W", "H", "J", "8", "9", "0"),
    *("Shift-Q", "Shift-W", "Shift-H", "Shift-J", "Shift-K"),
)
"""Keys to choose from."""

BACKGROUND_COLOUR = "#999999"
OUTSIDE_COLOUR = "#000000"

DEFAULT_CLASSES = (
    ClassStyle("background", BACKGROUND_COLOUR, CLASS_KEYS[0]),
    ClassStyle("mitochondria", PALETTE[0], CLASS_KEYS[1]),
)

_OUTSIDE = "outside"
_SWATCH_PX = 16


class ClassesEditor(QWidget):
    """Rows of classes, to be named, coloured, given keys, added and removed.

    A name that cannot be used is marked and says why; until it is corrected, :meth:`value` has the
    last one that could.
    """

    value_changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[_ClassRow] = []
        self._usage_of: Callable[[str], str] = lambda _: ""
        self._asked: _ClassRow | None = None
        self._before: tuple[ClassStyle, ...] = ()  # a class in use was removed; empty if none
        self.former: dict[str, list[str]] = {}  # names that a class had, by which models know it
        self._build()
        self._fill(DEFAULT_CLASSES)

    def _build(self) -> None:
        self._list = QVBoxLayout()
        self._list.setSpacing(2)
        add = make_button("Add class", self.add_class, "Add a class to be segmented.")
        self._outside_box = make_check(
            "Area outside",
            lambda: self._set_outside(self._outside_box.isChecked()),
            "Tick if the images show something that is not part of the specimen, such as empty "
            "resin or a frame.\nIt becomes a class that is excluded from all fractions.",
        )
        self._message = Notice()
        self._undo_button = make_button(
            "Undo", self._undo, "Bring the removed class back, with all that was annotated."
        )
        fill_column(
            *(self, self._list, self._message, self._undo_button),
            make_row(add, self._outside_box, None),
        )

    # Value --------------------------------------------------------------------------------------

    def value(self) -> tuple[ClassStyle, ...]:
        """Return the classes, background first, with unique and usable names."""
        return tuple(row.style_ for row in self._rows)

    def set_value(
        self, classes: Sequence[ClassStyle], former: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """Show other classes, the background first; a loss of annotated ones can be taken back.

        Parameters
        ----------
        classes : sequence of ClassStyle
        former : mapping, optional
            Names that some of them had before, by the present one.

        Raises
        ------
        ValueError
            If there is none, or two have the same name.
        """
        names = [style.name for style in classes]
        is_unique = all(match_class(name, names) == place for place, name in enumerate(names))
        if not names or not is_unique:
            raise ValueError(f"classes {names} are not a background and unique names")
        before = self.value()
        self.former = {name: list(names) for name, names in (former or {}).items()}
        if tuple(classes) != before:
            is_loss = any(self._usage_of(name) for name in set(self.names()) - set(names))
            self._fill(classes)
            self.value_changed.emit()
            self._before = before if is_loss else ()
            self._show_state()

    def styles_of(self, classes: Classes) -> tuple[ClassStyle, ...]:
        """Return the classes of a model as they look: as here where the names agree."""
        known = {style.name.lower(): style for style in self.value()}
        looks = (
            known.get(name.lower())
            or ClassStyle(name, colour)  # of a loaded model; the user has not named it
            for name, colour in zip(self.named(classes), classes.colours, strict=True)
        )
        return tuple(
            replace(one, name=look.name, colour=look.colour, key=look.key)
            for one, look in zip(classes.records, looks, strict=True)
        )

    def named(self, classes: Classes) -> Classes:
        """Return the classes of a model by the names that they have here by now.

        A name may have been that of two classes, one after the other: classes stay in their order,
        which tells them apart.
        """
        names = self.names()
        known = [(name, *self.former.get(name, ())) for name in names]

        def is_one(name: str, place: int) -> bool:
            return match_class(name, known[place]) is not None

        places = iter(range(len(names)))
        found = [next((names[i] for i in places if is_one(name, i)), "") for name in classes]
        if not all(found):  # a model from elsewhere
            found = []
            for name in classes:
                place = match_class(name, names)
                before = [one for i, one in enumerate(names) if is_one(name, i)]
                found.append(names[place] if place is not None else [*before, name][0])
        is_unique = all(match_class(name, found) == place for place, name in enumerate(found))
        pairs = zip(classes.records, found, strict=True)
        return Classes(replace(one, name=name) for one, name in pairs) if is_unique else classes

    def names(self) -> tuple[str, ...]:
        """Return the names of the classes, background first."""
        return tuple(style.name for style in self.value())

    def problem(self) -> str:
        """Return what is wrong with the names as they stand; empty if nothing is."""
        faults = (self._fault(row) for row in self._rows)
        return next((fault for fault in faults if fault), "")

    def set_usage(self, usage_of: Callable[[str], str]) -> None:
        """Have removing a class ask first where something is annotated.

        ``usage_of`` returns what is annotated of a class, such as "12 keypoints"; empty for none.
        """
        self._usage_of = usage_of

    def _fill(self, classes: Sequence[ClassStyle]) -> None:
        self._asked, self._before = None, ()
        while self._rows:
            self._take_row(self._rows[-1])
        seen: set[str] = set()
        for style in classes:
            key = "" if style.key in seen else style.key
            seen.add(key)
            self._append(replace(style, key=key))
        self._show_state()

    # Rows ---------------------------------------------------------------------------------------

    def _append(self, style: ClassStyle) -> _ClassRow:
        row = _ClassRow(style, is_background=not self._rows, parent=self)
        row.edited.connect(self._on_name)
        row.committed.connect(self._on_committed)
        row.key_chosen.connect(self._on_key)
        row.colour_chosen.connect(self._on_colour)
        row.removed.connect(self._on_removed)
        self._rows.append(row)
        self._list.addWidget(row)
        return row

    def _take_row(self, row: _ClassRow) -> None:
        self._rows.remove(row)
        self._list.removeWidget(row)
        row.hide()
        row.deleteLater()

    def add_class(self) -> None:
        """Append a class with a free name, colour and key, ready to be named."""
        taken = [row.style_.name for row in self._rows] + [row.text() for row in self._rows]
        number = len(self._rows)
        while match_class(f"class {number}", taken) is not None:
            number += 1
        row = self._append(ClassStyle(f"class {number}", self._free_colour(), self._free_key()))
        self._announce()
        row.start_naming()

    def _free_colour(self) -> str:
        """Return a colour of the palette that is used least."""
        used = [row.style_.colour.upper() for row in self._rows]
        return min(PALETTE, key=used.count)

    def _free_key(self) -> str:
        """Return the first key that no class has; empty if there is none left."""
        used = {row.style_.key for row in self._rows}
        return next((key for key in CLASS_KEYS if key not in used), "")

    def _set_outside(self, is_wanted: bool) -> None:
        """Add or remove the class that is excluded from all fractions."""
        present = next((row for row in self._rows if row.style_.is_outside), None)
        if is_wanted and present is None:
            taken = [row.style_.name for row in self._rows]
            name = _OUTSIDE if match_class(_OUTSIDE, taken) is None else f"{_OUTSIDE} 2"
            self._append(ClassStyle(name, OUTSIDE_COLOUR, self._free_key(), is_outside=True))
        elif not is_wanted and present is not None:
            self._on_removed(present)
            return
        else:
            return
        self._announce()

    def _on_removed(self, row: _ClassRow) -> None:
        """Remove a class; one in use at the second click."""
        usage = self._usage_of(row.style_.name)
        if usage and self._asked is not row:
            self._asked, self._before = row, ()
            self._show_state()
            return
        before = self.value()
        self._take_row(row)
        self._announce()
        self._before = before if usage else ()
        self._show_state()

    def _undo(self) -> None:
        """Bring the class back that was removed last."""
        self.set_value(self._before, self.former)

    def _announce(self) -> None:
        """Tell that the classes are others now; what was asked or could be undone is past."""
        self._asked, self._before = None, ()
        self._show_state()
        self.value_changed.emit()

    # Editing ------------------------------------------------------------------------------------

    def _fault(self, row: _ClassRow) -> str:
        """Say what is wrong with the name that stands in a row; empty if nothing is."""
        name = row.text()
        if row.is_background:
            return ""
        fault = class_name_fault(name)
        if fault is not None:
            return f"{name!r} {fault}; choose another name."
        others = [other for other in self._rows if other is not row]
        names = [other.text() for other in others] + [other.style_.name for other in others]
        if match_class(name, names) is not None:
            return f"{name!r} is named twice; choose another name."
        return ""

    def _on_name(self, row: _ClassRow) -> None:
        self._asked = None
        self._show_state()

    def _on_committed(self, row: _ClassRow) -> None:
        """Take over the names that can be used; a corrected one may set another one free."""
        before = self.value()
        for one in self._rows:
            if not self._fault(one):
                one.accept_text()
        self._show_state()
        if self.value() != before:
            pairs = zip(before, self.value(), strict=True)
            names = {one.name: now.name for one, now in pairs if one.name != now.name}
            changed = {now: [*self.former.pop(was, ()), was] for was, now in names.items()}
            self.former |= changed
            self._announce()

    def _on_key(self, row: _ClassRow, key: str) -> None:
        """Give a key to a class; the class that had it gets the other one's."""
        for other in self._rows:
            if other is not row and key and other.style_.key == key:
                other.set_style(replace(other.style_, key=row.style_.key))
        row.set_style(replace(row.style_, key=key))
        self.value_changed.emit()

    def _on_colour(self, row: _ClassRow, colour: str) -> None:
        row.set_style(replace(row.style_, colour=colour))
        self.value_changed.emit()

    def _show_state(self) -> None:
        """Mark what is wrong, and say what removing a class would lose."""
        for row in self._rows:
            row.show_fault(self._fault(row))
        has_outside = any(row.style_.is_outside for row in self._rows)
        with QSignalBlocker(self._outside_box):
            self._outside_box.setChecked(has_outside)
        text = self.problem()
        if self._asked is not None:
            name = self._asked.style_.name
            text = (
                f"{name} has {self._usage_of(name)}, which go with it. Remove it once more to go "
                "on."
            )
        if not text and self._before:
            gone = [style.name for style in self._before if style.name not in self.names()]
            text = f"Removed, with what was annotated: {', '.join(gone)}."
        self._message.say(f"\u26a0 {text}" if text else "")
        self._undo_button.setVisible(bool(self._before))


class _ClassRow(QWidget):
    """One class."""

    edited = Signal(object)  # the row, while its name is typed
    committed = Signal(object)  # the row, when the name is finished
    key_chosen = Signal(object, str)
    colour_chosen = Signal(object, str)
    removed = Signal(object)

    def __init__(self, style: ClassStyle, *, is_background: bool, parent: QWidget) -> None:
        super().__init__(parent)
        self.style_ = style
        self.is_background = is_background
        self.colour_button = QToolButton()
        self.colour_button.setIconSize(QSize(_SWATCH_PX, _SWATCH_PX))
        self.colour_button.clicked.connect(self._ask_colour)
        self.name_edit = QLineEdit(style.name)
        self.name_edit.setReadOnly(is_background)
        self.name_edit.textEdited.connect(lambda _: self.edited.emit(self))
        self.name_edit.editingFinished.connect(lambda: self.committed.emit(self))
        self.key_box = QComboBox()
        self.key_box.addItem("no key", "")
        for key in dict.fromkeys((*CLASS_KEYS, *([style.key] if style.key else ()))):
            self.key_box.addItem(f"key {shown_key(key)}", key)
        self.key_box.setToolTip(
            "Key that chooses this class while the layer of keypoints or of the grid is active."
        )
        self.key_box.activated.connect(self._on_key)
        self.remove_button = QToolButton()
        self.remove_button.setText("\u2715")
        self.remove_button.setToolTip("Remove this class.")
        self.remove_button.clicked.connect(lambda: self.removed.emit(self))
        policy = self.remove_button.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.remove_button.setSizePolicy(policy)
        fill_row(self, self.colour_button, (self.name_edit, 1), self.key_box, self.remove_button)
        self.remove_button.setVisible(not is_background)
        font = QFont(self.name_edit.font())
        font.setItalic(style.is_outside or is_background)
        self.name_edit.setFont(font)
        self.set_style(style)
        self.show_fault("")

    def text(self) -> str:
        """Return the name as it stands, without blanks around it."""
        return self.name_edit.text().strip()

    def start_naming(self) -> None:
        """Let the user type a name at once."""
        self.name_edit.setFocus()
        self.name_edit.selectAll()

    def accept_text(self) -> None:
        """Take over the name as it stands."""
        self.style_ = replace(self.style_, name=self.text())
        self.name_edit.setText(self.style_.name)

    def set_style(self, style: ClassStyle) -> None:
        """Show another colour and key."""
        self.style_ = style
        swatch = QPixmap(_SWATCH_PX, _SWATCH_PX)
        swatch.fill(QColor(style.colour))
        self.colour_button.setIcon(QIcon(swatch))
        self.colour_button.setToolTip(f"Colour of {style.name}: {style.colour}.")
        self.key_box.setCurrentIndex(max(self.key_box.findData(style.key), 0))

    def show_fault(self, fault: str) -> None:
        """Mark the name if there is a fault, and say what it is."""
        set_mark(self.name_edit, "error" if fault else "")
        self.name_edit.setToolTip(fault or self._purpose())

    def _purpose(self) -> str:
        if self.is_background:
            return "Everything that is none of the other classes. It is always there."
        if self.style_.is_outside:
            return "What is not part of the specimen; excluded from all fractions."
        return "Name of the class, as it appears in files and layers."

    def _on_key(self, place: int) -> None:
        key = self.key_box.itemData(place)
        if key != self.style_.key:
            self.key_chosen.emit(self, key)

    def _ask_colour(self) -> None:
        title = f"Colour of {self.style_.name}"
        colour = QColorDialog.getColor(QColor(self.style_.colour), self, title)
        if colour.isValid() and colour.name().upper() != self.style_.colour.upper():
            self.colour_chosen.emit(self, colour.name().upper())
