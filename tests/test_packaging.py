"""What the files around the code promise agrees with each other and with the code."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points, packages_distributions

import pytest
import yaml

RAW = "https://raw.githubusercontent.com/napari-spss/napari-spss/main/"
TEST_WITH_DATA = """
import pytest

def test_needs_data(shared_data):
    pass

@pytest.mark.data
def test_skips_itself():
    pytest.skip("some other reason")
"""


@pytest.fixture(scope="module")
def readme(repository):
    return (repository / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pyproject(repository):
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))


def test_ci_runs_the_test_command_of_the_readme(repository, readme):
    commands = re.findall(r"^python -m pip install .* && .*$", readme, flags=re.MULTILINE)
    assert len(commands) == 2
    script = (repository / ".ci" / "run").read_text(encoding="utf-8")
    assert script.rstrip().endswith("\n" + commands[1])


@pytest.mark.parametrize("name", ["test.yml", "publish.yml"])
def test_actions_are_pinned_by_commit(repository, name):
    text = (repository / ".github" / "workflows" / name).read_text(encoding="utf-8")
    uses = re.findall(r"uses: (.*)", text)
    assert uses
    ours = "./.github/workflows/test.yml"
    pinned = re.compile(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+(\.\d+)+")
    assert [use for use in uses if use != ours and not pinned.fullmatch(use)] == []


def test_only_what_passed_the_tests_is_published(repository):
    folder = repository / ".github" / "workflows"
    test, publish = (
        yaml.safe_load((folder / name).read_text(encoding="utf-8"))
        for name in ("test.yml", "publish.yml")
    )
    assert "workflow_call" in test[True]  # "on" is a Boolean of YAML
    jobs = publish["jobs"]
    assert jobs["test"] == {"uses": "./.github/workflows/test.yml"}
    assert (jobs["build"]["needs"], jobs["publish"]["needs"]) == ("test", "build")


def test_readme_suits_the_hub(repository, readme):
    images = re.findall(r"!\[[^]]*\]\(([^)\s]+)", readme) + re.findall(
        r'<img[^>]*src="([^"]+)', readme
    )
    assert [url for url in images if not url.startswith("https://")] == []
    ours = [url.removeprefix(RAW) for url in images if url.startswith(RAW)]
    assert [path for path in ours if not (repository / path).is_file()] == []
    assert (
        len(re.findall(r"^# ", re.sub(r"```.*?```", "", readme, flags=re.DOTALL), re.MULTILINE))
        == 1
    )


def test_base_dependencies_bring_no_qt_binding_and_no_caps(pyproject):
    dependencies = pyproject["project"]["dependencies"]
    assert not [
        d for d in dependencies if re.match(r"(pyqt[56]|pyside[26]|napari\[)", d, re.IGNORECASE)
    ]
    assert not [d for d in dependencies if "<" in d or "==" in d]


def test_what_is_imported_is_declared_and_what_is_declared_is_imported(repository, pyproject):
    imported = set()
    for path in (repository / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.partition(".")[0])
    of_module = packages_distributions()
    used = {_plain(of_module[m][0]) for m in imported - sys.stdlib_module_names if m in of_module}
    project = pyproject["project"]
    base = {_name(text) for text in project["dependencies"]}
    optional = {_name(text) for text in project["optional-dependencies"]["workers"]}
    assert used - base == optional
    # npe2 reads the manifest
    assert base - used == {"npe2"}


def _name(requirement: str) -> str:
    return _plain(re.match(r"[\w.-]+", requirement).group())


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_console_script_and_manifest_are_registered():
    scripts = entry_points(group="console_scripts", name="napari-spss")
    assert [script.value for script in scripts] == ["napari_spss.cli:main"]
    manifests = entry_points(group="napari.manifest", name="napari-spss")
    assert [manifest.value for manifest in manifests] == ["napari_spss:napari.yaml"]


@pytest.mark.parametrize(
    ("is_required", "outcome"), [("0", {"2 skipped"}), ("1", {"1 failed", "1 error"})]
)
def test_skipped_data_test_fails_where_data_are_required(
    repository, tmp_path, is_required, outcome
):
    rules = (repository / "tests" / "conftest.py").read_text(encoding="utf-8")
    (tmp_path / "conftest.py").write_text(rules, encoding="utf-8")
    (tmp_path / "test_data.py").write_text(TEST_WITH_DATA, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = data\n", encoding="utf-8")
    environment = os.environ | {
        "NAPARI_SPSS_DATA": str(tmp_path / "absent"),
        "NAPARI_SPSS_REQUIRE_DATA": is_required,
        "PYTEST_ADDOPTS": "",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # napari's and others' take seconds to load
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "test_data.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert outcome <= set(re.findall(r"\d+ (?:passed|failed|skipped|error)", done.stdout))
    assert (done.returncode == 0) == (is_required == "0")
