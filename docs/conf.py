"""Configuration of the documentation: Sphinx, MyST, numpydoc, pydata theme."""

from __future__ import annotations

import ast
import json
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import version as installed_version
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "benchmarks" / "paper"), str(HERE.parent / "benchmarks")]

project = "napari-spss"
author = "napari-spss contributors"
copyright = "2026, napari-spss contributors"
release = installed_version("napari-spss")
version = release.partition("+")[0]

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "_generated"]
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
numpydoc_show_class_members = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings state types, shapes and units

html_theme = "pydata_sphinx_theme"
html_title = "napari-spss"
html_show_sourcelink = False
html_theme_options = {
    "github_url": "https://github.com/napari-spss/napari-spss",
    "show_toc_level": 2,
}


def settings_rows() -> Iterator[str]:
    """Markdown table rows of all training settings, with their values in both presets."""
    from pydantic import BaseModel

    from napari_spss.core.base import TrainingSettings, preset

    fast, paper = preset("fast"), preset("paper")
    for group, info in TrainingSettings.model_fields.items():
        kind = info.annotation
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            yield f"| `{group}` | `{getattr(fast, group)}` | `{getattr(paper, group)}` | |"
            continue
        for name, inner in kind.model_fields.items():
            values = (getattr(getattr(settings, group), name) for settings in (fast, paper))
            shown = " | ".join(f"`{str(value).lower()}`" for value in values)
            yield f"| `{group}.{name}` | {shown} | {inner.description or ''} |"


def module_rows() -> Iterator[str]:
    """Markdown table rows of all modules, with the first line of their docstrings."""
    package = HERE.parent / "src" / "napari_spss"
    for path in sorted(package.rglob("*.py"), key=lambda path: (path.parent, path.name)):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        if text:
            name = path.relative_to(package).as_posix()
            yield f"| `{name}` | {text.partition(chr(10))[0]} |"


def stall_table() -> list[str]:
    """Markdown of the stored delays of the window's event loop, if there are any."""
    path = HERE.parent / "benchmarks" / "results" / "gui" / "stalls.json"
    if not path.exists():
        return ["Not measured yet."]
    record = json.loads(path.read_text(encoding="utf-8"))
    rows = [
        f"| {row['name']} | {row['median_ms']:.1f} | {row['p99_ms']:.0f} | {row['worst_ms']:.0f} "
        f"| {row['over_100ms_percent']:.1f} |"
        for row in record["rows"]
    ]
    packages = ", ".join(f"{name} {number}" for name, number in record["packages"].items())
    training, opening = record["training"], record["opening"]
    return [
        "| | median, ms | 99 %, ms | worst, ms | later than 100 ms, % |",
        "|---|---|---|---|---|",
        *rows,
        "",
        f"{record['cores']} cores, load average {record['load_average']} at the start, OpenGL by "
        f"{record['opengl']}; {packages}; {record['slices']} slices of {record['size_px']} px. The "
        f"training made {training['steps']} steps in {training['seconds']:.0f} s. Opening the dock "
        f"took {opening['wall_s']} s, {opening['cpu_s']} s of them computing.",
    ]


def speed_table() -> list[str]:
    """Markdown of the newest stored ratios of speed and memory."""
    from speed import render

    return render(HERE.parent / "benchmarks" / "results" / "speed", newest=3).split("\n")


def paper_tables(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Tables of the reproduced paper, each with its pictures, which are put into ``folder``."""
    from figures import draw
    from rendering import COMMANDS, render

    results = HERE.parent / "benchmarks" / "results" / "paper"
    for command in COMMANDS:
        # The maps behind the panels of figure 5 are not under git, so these are drawn before.
        stored = sorted((results / "figures").glob(f"{command}_dubai_*.png"))
        drawn = [path for path in stored if command == "figure5"]
        pictures = [Path(shutil.copy(path, folder)) for path in drawn]
        if command in ("table3", "table4", "figure7", "long"):
            pictures = draw(command, results, folder)
        shown = [f"![{command}, {path.stem}](_generated/{path.name})" for path in pictures]
        yield f"paper_{command}", "\n\n".join([render(command, results), *shown]).split("\n")


def annotation_tables(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Tables and pictures of the annotation study; its curves are drawn into ``folder``."""
    from annotation.figures import draw
    from annotation.picture import CAPTION
    from annotation.rendering import TABLES, render

    results = HERE.parent / "benchmarks" / "results" / "annotation"
    for name in TABLES:
        pictures = draw(results, folder) if name == "curves" else []
        shown = [f"![curves, {path.stem}](_generated/{path.name})" for path in pictures]
        yield f"annotation_{name}", "\n\n".join([render(name, results), *shown]).split("\n")
    stored = sorted((results / "pictures").glob("*.png"))
    pictures = [Path(shutil.copy(path, folder)) for path in stored]
    shown = [f"![{path.stem}](_generated/{path.name})" for path in pictures]
    # An empty file where nothing was drawn.
    yield "annotation_pictures", "\n\n".join([*shown, CAPTION] if shown else []).split("\n")


def interval_tables() -> Iterator[tuple[str, list[str]]]:
    """Coverage and width of the intervals of fractions, by data set."""
    from intervals import DATA, render

    for name in DATA:
        yield f"intervals_{name}", render(name).split("\n")


def write_tables(app: Sphinx) -> None:
    """Write the tables that pages include, from the code that they describe."""
    folder = HERE / "_generated"
    folder.mkdir(exist_ok=True)
    settings = ["| setting | fast | paper | what it is |", "|---|---|---|---|", *settings_rows()]
    modules = ["| module | what it holds |", "|---|---|", *module_rows()]
    tables = {"settings": settings, "modules": modules}
    tables["gui_stalls"] = stall_table()
    tables["speed"] = speed_table()
    tables.update(paper_tables(folder))
    tables.update(annotation_tables(folder))
    tables.update(interval_tables())
    for name, table in tables.items():
        (folder / f"{name}.md").write_text("\n".join(table) + "\n", encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Register what is made at the start of a build."""
    app.connect("builder-inited", write_tables)
