"""How often labels were compared with the masks of a test part: a line for every time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path


def note_scoring(results: Path, part: str, what: str, *, commit: str) -> None:
    """Add a line to ``RESULTS/scorings/PART.csv``; lines of two processes do not mix."""
    path = results / "scorings" / f"{part}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with path.open("a", encoding="utf-8") as stream:
        stream.write(f"{now},{commit},{what}\n")


def count_scorings(results: Path) -> dict[str, tuple[int, int]]:
    """Per part: times its masks were scored on, and by how many different labels' makers."""
    counts = {}
    for path in sorted((results / "scorings").glob("*.csv")):
        lines = path.read_text(encoding="utf-8").splitlines()
        names = {line.split(",", 2)[2] for line in lines if line.count(",") >= 2}
        counts[path.stem] = (len(lines), len(names))
    return counts
