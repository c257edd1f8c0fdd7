"""Saving as it is made: the image's project follows the annotations, and says where it is."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QWidget

from ...core.base import FolderLocked, SpssError
from ...core.projects import (
    RECORD_FILE,
    RUNS_FOLDER,
    FolderUnusable,
    Project,
    ProjectState,
    choose_folder,
    fallback_folder,
    last_annotated_first,
    note_folder,
    saved_projects,
)
from ..models import duration, explain, make_timer
from .parts import Notice, fill_column, make_button, make_row
from .theme import set_mark

if TYPE_CHECKING:
    from ..layers import Source

logger = logging.getLogger(__name__)
_DELAY_MS = 400
_RETRY_MS = 5000


class ProjectBar(QWidget):
    """Opens the project of an image, saves into it soon after each change, and shows its place.

    What cannot be saved stays in the widgets; the bar then says so, offers another folder, and
    tries again every few seconds, and with the next change. What is annotated while the project is
    open elsewhere, or damaged, is saved in a project of its own.

    Parameters
    ----------
    state : callable
        Returns what is to be saved.
    painted : callable
        Returns painted labels by slice that are to be saved.
    objects : callable
        Returns numbers of objects that are to be saved, as `Project.save_objects` takes them.
    folder : str
        Where projects are kept; empty: beside the image.
    """

    restored = Signal(object)  # Project that was opened and holds something
    moved = Signal(object)  # folder that the project has left

    def __init__(
        self,
        state: Callable[[], ProjectState],
        painted: Callable[[], Mapping[int, Any]],
        objects: Callable[[], Mapping[int, Mapping[int, Any]]] = dict,
        *,
        folder: str = "",
    ) -> None:
        super().__init__()
        self._state = state
        self._painted, self._objects = painted, objects
        self._folder = folder
        self._source: Source | None = None
        self._identity = ""
        self.project: Project | None = None  # that is open
        self._held = _Held()
        self.destroyed.connect(self._held.give_back)
        self._action: Callable[[], None] | None = None
        self._note = ""  # what stays to be said of the open project
        self._is_note_warning = False
        self._locked: Path | None = None  # project that is open elsewhere, and wanted here
        self._fallback: Path | None = None  # set while the last save did not work
        self._label = Notice()
        self._choose = make_button(
            "Folder…", self._on_choose, "Keep the annotations of this image in another folder."
        )
        self._act = make_button("", self._on_act)
        self._act.hide()
        fill_column(self, make_row((self._label, 1), self._choose), self._act)
        self._timer = make_timer(self, _DELAY_MS, self.save)
        self._retry = make_timer(self, _RETRY_MS, self.save)
        self._say("")

    @property
    def folder(self) -> Path | None:
        """Where it is, or will be once something is saved."""
        return None if self.project is None else self.project.folder

    def runs_folder(self) -> Path | None:
        """Return where runs are kept, once what waits is saved; None if they cannot be."""
        project = self.project
        if project is None or not project.is_writable or not self.save():
            return None
        return project.folder / RUNS_FOLDER

    @property
    def has_image(self) -> bool:
        """Whether an image's project was opened, however that went."""
        return bool(self._identity)

    def set_busy(self, is_busy: bool) -> None:
        """Offer no other folder while a run writes into the one there is."""
        self._choose.setEnabled(not is_busy)

    def is_other(self, source: Source) -> bool:
        """Whether an image has other pixels than the one whose project was opened last."""
        return source.identity != self._identity

    def open(self, source: Source) -> None:
        """Open the project of an image in place of the last one."""
        self.close_project()
        self._source, self._identity = source, source.identity
        places = self._places(source, self._identity)
        folder = places[0] if places else self._new_place(source, self._identity)
        others = ", ".join(_short(place) for place in places[1:])
        self._open_at(
            folder,
            note=f"This image has {len(places)} projects; the one annotated last is open. "
            f"Folder… opens another: {others}."
            if others
            else "",
        )

    def save_soon(self) -> None:
        """Save after a moment without further changes."""
        if self.project is not None and not self._timer.isActive():
            self._timer.start()

    def save(self) -> bool:
        """Save now; return whether it worked."""
        self._timer.stop()
        self._retry.stop()
        if self.project is None:
            return False
        self._fallback = None
        if self._folder:  # its absence would be told by the save below
            with contextlib.suppress(OSError):
                Path(self._folder).expanduser().mkdir(parents=True, exist_ok=True)
        try:
            self.project.save(self._state())
            self.project.save_painted(self._painted())
            self.project.save_objects(self._objects())
        except FolderLocked as error:
            self._offer_fallback(str(error), self.project.fallback())
        except FolderUnusable as error:
            self._offer_fallback(str(error), error.fallback)
        except Exception as error:  # a border: beyond it is a timer of Qt
            logger.error("saving failed", exc_info=error)
            text = explain(error, "Your annotations could not be saved")
            self._offer_fallback(text, self.project.fallback())
        else:
            self._show_place()
            return True
        self._retry.start()
        return False

    def leave_alone(self, reason: str) -> None:
        """Write nothing more into the open project, and go on in another one."""
        if self.project is not None:
            self._timer.stop()
            self.project.close()
            self._open_instead(reason)

    def save_if_waiting(self) -> None:
        """Save what was to be saved soon, or could not be saved."""
        if self._timer.isActive() or self._fallback is not None:
            self.save()

    def close_project(self) -> None:
        """Save what waits, elsewhere if it cannot be saved in its place; give the project back."""
        self._leave()
        self._identity = ""

    def _leave(self) -> None:
        self.save_if_waiting()
        if self.project is not None:
            if self._fallback is not None:
                self._rescue(self.project, self._fallback)
            self.project.close()
        self._retry.stop()
        self.project, self._fallback = None, None
        self._note, self._locked = "", None
        self._held.let_go()

    def _rescue(self, project: Project, folder: Path) -> None:
        """Save what nobody moved elsewhere, rather than lose it with the image."""
        try:
            project.move_to(folder)
            project.save_painted(self._painted())
            project.save_objects(self._objects())
        except SpssError as error:
            logger.warning("Unsaved annotations of %s are lost: %s", project.source, error)
        else:
            logger.warning("Annotations were saved in %s instead.", folder)

    def _places(self, source: Source, identity: str) -> tuple[Path, ...]:
        """Find the projects of an image, last annotated first."""
        found = set(saved_projects(_origin(source), identity))
        if self._folder:  # by its end: a layer's name is no identity
            kept = Path(self._folder).expanduser().glob(f"*-{identity[:8]}.spss/{RECORD_FILE}")
            found |= {record.parent for record in kept}
        return last_annotated_first(found)

    def _new_place(self, source: Source, identity: str) -> Path:
        """Name the folder of an image that has no project yet."""
        if not self._folder:
            return choose_folder(_origin(source), identity)
        name = Path(source.path or source.name).name or "image"
        return Path(self._folder).expanduser() / f"{name}-{identity[:8]}.spss"

    def _load(self, folder: Path) -> Project:
        source = "" if self._source is None else _origin(self._source)
        return Project.open(folder, identity=self._identity, source=source)

    def _open_at(self, folder: Path, *, note: str = "") -> None:
        try:
            project = self._load(folder)
        except FolderLocked as error:
            self._locked = folder
            self._open_instead(str(error))
        except SpssError as error:
            self._open_instead(str(error))
        else:
            self._adopt(project, note)

    def _open_instead(self, reason: str) -> None:
        """Begin a project elsewhere, so that nothing that is annotated meanwhile is lost."""
        source = "" if self._source is None else _origin(self._source)
        spare = fallback_folder(source, self._identity, is_free=True)
        try:
            project = self._load(spare)
        except SpssError as error:
            logger.warning("%s", error)
            self._say(f"{reason} Nothing is saved until then.", is_warning=True)
            self._offer_locked()
        else:
            note = f"{reason} What you annotate here is saved apart from it."
            self._adopt(project, note, is_warning=True)

    def _switch_to(self, folder: Path) -> None:
        """Open another project of the image; what was annotated stays in the one that was open."""
        if folder == self.folder:
            return
        try:
            project = self._load(folder)
        except SpssError as error:
            self._say(str(error), is_warning=True)
            self._offer_locked()
            return
        self.save_if_waiting()
        left = self.folder
        self._leave()
        note = ""
        if left is not None and left.exists():
            note = f"What was annotated before is in {_short(left)}."
        self._adopt(project, note)

    def _adopt(self, project: Project, note: str = "", *, is_warning: bool = False) -> None:
        self.project = project
        self._note, self._is_note_warning = note, is_warning
        self._held.hold(project)
        if project.state.classes:
            self.restored.emit(project)  # reads painted labels, which may be damaged
            if self.project is not project:
                return  # it was left alone
        for warning in project.warnings:
            logger.warning("%s", warning)
        if project.warnings:
            self._note = " ".join((note, *project.warnings)).strip()
            self._is_note_warning = True
        self._show_place()

    def _show_place(self) -> None:
        """Say where annotations are saved, and what else is to be known of that."""
        text = f"{self._note} {self._where()}".strip()
        self._say(text, is_warning=bool(self._note) and self._is_note_warning)
        self._offer_locked()

    def _offer_locked(self) -> None:
        folder = self._locked
        if folder is not None:
            self._offer("Open it here", lambda: self._switch_to(folder))

    def _where(self) -> str:
        if self.project is None:
            return ""
        folder = self.project.folder
        self._label.setToolTip(str(folder))
        if not folder.exists():
            return "Annotations will be saved as you make them."
        seconds = self.project.log.seconds()
        spent = f"; {duration(60 * round(seconds / 60))} of annotating" if seconds >= 60 else ""
        return f"Annotations saved in {_short(folder)}{spent}"

    def _offer_fallback(self, text: str, folder: Path) -> None:
        self._fallback = folder
        self._say(text, is_warning=True)
        self._offer(f"Save in {_short(folder)}", lambda: self._move_to(folder))

    def _offer(self, text: str, action: Callable[[], None]) -> None:
        self._action = action
        self._act.setText(text)
        self._act.show()

    def _on_act(self) -> None:
        action, self._action = self._action, None
        self._act.hide()
        if action is not None:
            action()

    def _on_choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Keep the annotations in this folder")
        if folder and self._source is not None:
            self._go_on_in(Path(folder))

    def _go_on_in(self, folder: Path) -> None:
        """Open the project that is in a folder, or move this one there."""
        if (folder / RECORD_FILE).exists() and self.project is not None:
            self._switch_to(folder)
        else:
            self._move_to(folder)
        if self.folder == folder and self._source is not None:
            try:
                note_folder(folder, _origin(self._source), self._identity)
            except SpssError as error:
                logger.warning("%s is not found when the image is opened again: %s", folder, error)

    def _move_to(self, folder: Path) -> None:
        """Go on in another folder: move the project, or open what is there."""
        if self.project is None:
            self._open_at(folder)
            self._save_into_new()
            return
        left = self.project.folder
        try:
            self.project.move_to(folder)
        except SpssError as error:
            self._say(str(error), is_warning=True)
        else:
            if (left / RUNS_FOLDER).is_dir() and not (folder / RUNS_FOLDER).is_dir():
                self._note = f"Its runs stay in {_short(left)}: Load… under Results opens one."
                self._is_note_warning = False
            self.save()
            self.moved.emit(left)

    def _save_into_new(self) -> None:
        """Save what was made while nothing could be saved; a project that was there stays."""
        if self.project is not None and not self.project.state.classes:
            self.save()

    def _say(self, text: str, *, is_warning: bool = False) -> None:
        self._act.hide()
        self._action = None
        set_mark(self._label, "warning" if is_warning else "")
        self._label.say(text)
        self._choose.setVisible(self._source is not None)

    def text(self) -> str:
        """Return what is shown."""
        return self._label.text()


class _Held:
    """Gives a project's lock back when a viewer goes without closing its docks.

    Kept alive by the module while it holds a project: the slot of a widget's ``destroyed`` must
    not be part of the garbage that the widget is collected with.
    """

    _alive: ClassVar[set[_Held]] = set()

    def __init__(self) -> None:
        self._project: Project | None = None

    def hold(self, project: Project) -> None:
        self._project = project
        self._alive.add(self)

    def let_go(self) -> None:
        self._project = None
        self._alive.discard(self)

    def give_back(self, *_: object) -> None:
        project = self._project
        self.let_go()
        if project is not None:
            project.close()


def _origin(source: Source) -> str:
    """Path of an image; nothing for an array, which its pixels alone identify."""
    return source.path or ""


def _short(folder: Path) -> str:
    """Last two parts of a path, which tell more than its beginning."""
    parts = folder.parts[-2:]
    return "…/" + "/".join(parts) if len(folder.parts) > 3 else str(folder)
