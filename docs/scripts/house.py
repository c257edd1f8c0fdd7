"""Draw the rooms of the package and what imports what, and count them.

    python docs/scripts/house.py docs/images/house.svg

A box is a package; what stands directly on a floor shares one. An arrow points from a room to one
that it builds on; what follows from other arrows is left out. How large rooms are is printed.
Another checkout is measured by putting its ``src`` first on PYTHONPATH.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from importlib.util import find_spec
from pathlib import Path
from statistics import mean

import grimp
import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

PACKAGE = "napari_spss"
SOURCE = Path(find_spec(PACKAGE).submodule_search_locations[0])
FLOORS = {"gui": "#dbe9f6", "cli": "#e3f1dc", "core": "#fbeed5"}


@dataclass(frozen=True)
class Room:
    """A package of a floor, or what stands directly on the floor, with its size."""

    n_files: int
    n_lines: int


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, nargs="?", help="the picture, SVG or PNG")
    return parser.parse_args()


def room_of(module: str) -> str | None:
    """Room of a module: ``core.images`` for ``core.images.tiff``, ``gui`` for a file there."""
    floor, _, rest = module.removeprefix(f"{PACKAGE}.").partition(".")
    if floor not in FLOORS:
        return None
    room = rest.partition(".")[0]
    return f"{floor}.{room}" if room and (SOURCE / floor / room).is_dir() else floor


def levels(graph: grimp.ImportGraph, modules: set[str]) -> int | None:
    """Longest chain of imports within modules, in modules; None where it is a circle."""
    imports = {
        module: graph.find_modules_directly_imported_by(module) & modules for module in modules
    }
    depth: dict[str, int] = {}
    try:
        for module in TopologicalSorter(imports).static_order():
            depth[module] = 1 + max((depth[other] for other in imports[module]), default=0)
    except CycleError:
        return None
    return max(depth.values(), default=0)


def survey() -> dict[str, Room]:
    """Return the rooms with their sizes."""
    sizes: dict[str, list[int]] = {}
    for path in SOURCE.rglob("*.py"):
        module = ".".join((PACKAGE, *path.relative_to(SOURCE).with_suffix("").parts))
        n_lines = len(path.read_text(encoding="utf-8").splitlines())
        room = room_of(module.removesuffix(".__init__"))
        if room and n_lines > 1:  # a docstring alone holds nothing
            sizes.setdefault(room, []).append(n_lines)
    return {name: Room(len(lines), sum(lines)) for name, lines in sorted(sizes.items())}


def builds_on(graph: grimp.ImportGraph, rooms: dict[str, Room]) -> dict[str, set[str]]:
    """Return which rooms each room imports."""
    below: dict[str, set[str]] = {name: set() for name in rooms}
    for module in graph.modules:
        for other in graph.find_modules_directly_imported_by(module):
            room, its = room_of(module), room_of(other)
            if room in rooms and its in rooms and room != its:
                below[room].add(its)
    return below


def draw(below: dict[str, set[str]], out: Path) -> None:
    """Write the picture: each room stands above all that it builds on."""
    row: dict[str, int] = {}
    reached: dict[str, set[str]] = {}
    for name in TopologicalSorter(below).static_order():
        row[name] = 1 + max((row[other] for other in below[name]), default=-1)
        reached[name] = below[name].union(*(reached[other] for other in below[name]))
    drawn = {
        name: others.difference(*(reached[other] for other in others))
        for name, others in below.items()
    }
    rows = [sorted(n for n in below if row[n] == i) for i in range(max(row.values()) + 1)]
    width, height, gap = 1.8, 0.4, 0.95
    breadth = max(len(names) for names in rows) * (width + 0.9)
    figure = Figure(figsize=(breadth, len(rows) * gap))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, breadth)
    axes.set_ylim(-0.2, len(rows) * gap - 0.2)
    middle: dict[str, tuple[float, float]] = {}
    for i, names in reversed(list(enumerate(rows))):
        # a room stands below those that build on it, so that few arrows cross
        above = {n: [middle[o][0] for o in middle if n in drawn[o]] or [breadth] for n in names}
        for j, name in enumerate(sorted(names, key=lambda n: mean(above[n]))):
            middle[name] = (breadth * (j + 0.5) / len(names), i * gap + height / 2)
    for name, (x, y) in middle.items():
        for other in sorted(drawn[name]):
            arrow = FancyArrowPatch(
                (x, y - height / 2),
                (middle[other][0], middle[other][1] + height / 2 + 0.07),
                arrowstyle="-|>",
                mutation_scale=12,
                color="#777777",
                zorder=1,
            )
            axes.add_patch(arrow)
        box = FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0.02,rounding_size=0.08",
            facecolor=FLOORS[name.partition(".")[0]],
            edgecolor="#444444",
            zorder=2,
        )
        axes.add_patch(box)
        axes.text(x, y, name, ha="center", va="center", fontsize=11, weight="bold")
    matplotlib.rcParams["svg.hashsalt"] = PACKAGE  # the same picture has the same ids
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)


def main() -> None:
    options = parse()
    graph, rooms = grimp.build_graph(PACKAGE), survey()
    print(f"{'room':<24}{'files':>7}{'lines':>8}{'import levels':>15}")
    for name, room in rooms.items():
        inside = {module for module in graph.modules if room_of(module) == name}
        depth = levels(graph, inside - {f"{PACKAGE}.{name}"})
        print(f"{name:<24}{room.n_files:>7}{room.n_lines:>8}{depth or 'a circle':>15}")
    for floor in FLOORS:
        mine = [room for name, room in rooms.items() if name.partition(".")[0] == floor]
        n_files, n_lines = sum(r.n_files for r in mine), sum(r.n_lines for r in mine)
        print(f"{'all of ' + floor:<24}{n_files:>7}{n_lines:>8}")
    if options.out:
        draw(builds_on(graph, rooms), options.out)


if __name__ == "__main__":
    main()
