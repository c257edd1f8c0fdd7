"""Work on many images, one after the other: what is finished is kept, what fails is told.

What is made of an image lies in a folder of its own, as a call for it alone would write it. One
table has a row per image and class.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from ..analysis import write_table
from ..annotations import read_rows
from ..base import (
    CancelToken,
    Event,
    FinishReason,
    ImageProgress,
    InputError,
    Message,
    Progress,
    ResultFiles,
    RunFinished,
    RunStarted,
    SpssError,
    Stopped,
    counted,
    fault_of_package,
    turn_in_folder,
)
from ..images import ListedImage, list_images

IMAGES_TABLE, OVERALL_TABLE = "images.csv", "overall.csv"
"""The one table, a row per image and class; and the means of groups."""

NOT_DONE = "not done: the call was stopped before"
"""The problem of images that a call did not come to."""

Paths: TypeAlias = str | Path | Sequence[str | Path]
Show: TypeAlias = Callable[[Event], object]
Told: TypeAlias = Mapping[str, object]
"""Columns of the table that the image's own tables do not have."""

Work: TypeAlias = Callable[[ListedImage, Path, Show], tuple[bool, Told]]
"""Takes an image and its folder, and returns whether anything was computed."""


def table_at(out_dir: str | Path, made_from: dict[str, str], overwrite: bool | None) -> ResultFiles:
    """Files of the one table; see that nothing is in their way."""
    results = _files(Path(out_dir), made_from, overwrite)
    results.check()
    return results


def list_with_names(
    images: Paths,
    results: ResultFiles,
    *,
    each: bool,
    groups: str | Path | Mapping[Path, str] | None,
    made: Mapping[str, object],
    of_labels: bool = False,
) -> tuple[ListedImage, ...]:
    """List images, with the names of earlier calls; see that all in the table is made alike."""
    before = _rows_before(results)
    listed = list_images(
        images if isinstance(images, Iterable) and not isinstance(images, str) else [images],
        each=each,
        groups=groups,
        of_labels=of_labels,
        known={
            **{results.folder.resolve() / name: name for name in results.names},
            **{Path(row["image"]).resolve(): row["folder"] for row in before},
        },
    )
    others = {row["image"] for row in _of_others(before, listed)}
    if others and not results.are_done(repr(made)):
        raise InputError(
            f"{results.folder / IMAGES_TABLE} has {counted(len(others), 'image')} for which "
            f"another state of the model or other options were used, such as {min(others)}; name "
            "all images, or another folder."
        )
    return listed


def read_images_table(folder: Path) -> pd.DataFrame:
    """Read the one table that was written into a folder, all cells texts; no row if none was."""
    return pd.DataFrame(_rows_before(_files(folder, {}, False)))


def _files(folder: Path, made_from: dict[str, str], overwrite: bool | None) -> ResultFiles:
    names = (IMAGES_TABLE, OVERALL_TABLE)
    return ResultFiles(folder, "images", names, made_from, overwrite=overwrite)


def _rows_before(results: ResultFiles) -> list[dict[str, str]]:
    """Rows of images that are still there; none of a table that was not written here."""
    path = results.folder / IMAGES_TABLE
    if not path.is_file() or results.in_the_way():
        return []
    return [row for row in read_rows(path) if Path(row["image"]).exists()]


def _of_others(
    rows: Sequence[dict[str, str]], images: Sequence[ListedImage]
) -> list[dict[str, str]]:
    """Rows of images that are not among these."""
    listed = {one.path.resolve() for one in images}
    return [row for row in rows if Path(row["image"]).resolve() not in listed]


def one_by_one(
    images: Sequence[ListedImage],
    work: Work,
    results: ResultFiles,
    table: str,
    made: Mapping[str, object],
    show: Show,
    token: CancelToken,
    finish: Callable[[Path], object] = lambda place: None,
) -> pd.DataFrame:
    """Do the work on each image, and write the one table, with what else is to lie beside it."""
    pace = _Pace(images, show)
    show(RunStarted("images", len(images), "", ()))
    rows: list[dict[str, object]] = []
    for image in images:
        row: dict[str, object] = {
            "image": str(image.path),
            "group": image.group,
            "folder": image.name,
            "problem": "",
        }
        if token.is_cancelled:
            rows.append({**row, "problem": NOT_DONE})
            continue
        pace.begin(image)
        try:
            is_new, told = work(image, results.folder / image.name, pace.take)
            found = read_rows(results.folder / image.name / table)
        except Stopped:
            rows.append({**row, "problem": NOT_DONE})
        except Exception as error:  # noqa: BLE001  a border: the others go on
            is_foreseen = isinstance(error, SpssError | OSError)
            text = str(error) if is_foreseen else fault_of_package(error) or repr(error)
            problem = " ".join(text.split())
            rows.append({**row, "problem": problem})
            pace.end("failed", problem)
        else:
            rows += [{**row, **told, **one} for one in found]
            pace.end("done" if is_new else "kept")
    pace.say_again()
    outputs, everything = {}, pd.DataFrame()
    if rows:
        # other calls, such as the jobs of a cluster, may write theirs into the same table
        with turn_in_folder(results.folder, "images"):
            others: list[Any] = _of_others(_rows_before(results), images)
            everything = pd.DataFrame([*rows, *others]).fillna("")
            with results.writing(done_as=repr(made)) as place:
                write_table(place / IMAGES_TABLE, everything)
                finish(place)
        outputs["table"] = str(results.folder / IMAGES_TABLE)
    reason = FinishReason.stopped if token.is_cancelled else FinishReason.completed
    show(RunFinished(reason, pace.done, pace.elapsed_s, outputs, len(images)))
    return everything


class _Pace:
    """Tells how far the work is, on an image and in all."""

    def __init__(self, images: Sequence[ListedImage], show: Show) -> None:
        self.done = 0
        self._total, self._show = len(images), show
        often = Counter(one.path.name for one in images)
        # those of one name are called as their results
        self._names = {
            str(one.path): one.path.name if often[one.path.name] == 1 else one.name
            for one in images
        }
        self._began = time.monotonic()
        self._new_s, self._n_new = 0.0, 0
        self._image = ("", 0.0)
        self._said: dict[Message, list[str]] = {}  # of which images

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    def begin(self, image: ListedImage) -> None:
        self._image = (str(image.path), time.monotonic())
        self._show(ImageProgress(self._image[0], self.done, self._total, "running"))
        self._tell(0.0)

    def take(self, event: Event) -> None:
        """Take an event of the work on the image."""
        path = self._image[0]
        if isinstance(event, Message):
            said = self._said.setdefault(event, [])
            said.append(path)
            if len(said) == 1:
                self._show(Message(event.level, f"{self._names[path]}: {event.text}"))
        elif isinstance(event, Progress):
            self._show(ImageProgress(path, self.done, self._total, "running", event.share))
            self._tell(event.share)

    def end(self, state: Any, text: str = "") -> None:
        path, began = self._image
        if state == "done":
            self._new_s += time.monotonic() - began
            self._n_new += 1
        self._show(ImageProgress(path, self.done, self._total, state, 1.0, text))
        self.done += 1
        self._tell(0.0)

    def say_again(self) -> None:
        """Say of how many more images the same was to be said, of each text its beginning."""
        for message, (first, *more) in self._said.items():
            if more:
                same = f"The same of {counted(len(more), 'more image')} as of {self._names[first]}"
                beginning = message.text.partition(". ")[0].rstrip(".")
                self._show(Message(message.level, f"{same}: {beginning}."))

    def _tell(self, share: float) -> None:
        """Tell how far all is; the time left is that of images which are computed."""
        seconds = self._new_s + (time.monotonic() - self._image[1]) * (share > 0)
        n = self._n_new + share
        left = self._total - self.done - share
        eta_s = seconds / n * left if n > 0 else None
        self._show(Progress(self.done, self._total, self.elapsed_s, eta_s))
