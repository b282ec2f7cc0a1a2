"""Workflows, hooks, scripts and forms are valid, and do what make does."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text()
FORMS = GITHUB / "ISSUE_TEMPLATE"

LINTERS: dict[str, tuple[list[str], list[Path]]] = {
    "actionlint": ([], WORKFLOWS),
    "zizmor": (["--offline", "--quiet"], [*WORKFLOWS, GITHUB / "dependabot.yml"]),
    "hadolint": ([], [ROOT / "Containerfile"]),
    "shellcheck": ([], sorted((ROOT / ".ci").iterdir())),
}
FAULTS = {
    "actionlint": ("runs-on:", "run-on:"),
    "zizmor": ("@[0-9a-f]{40} #", "@v4 #"),
    "hadolint": (" --no-install-recommends", ""),
    "shellcheck": (r'cd "\$', "cd $"),
}
"""A fault by linter: what in its first file is replaced by what."""

DOCUMENTS = [
    ("github-issue-forms", FORMS / "bug.yml"),
    ("github-issue-forms", FORMS / "feature.yml"),
    ("github-issue-config", FORMS / "config.yml"),
    ("citation-file-format", ROOT / "CITATION.cff"),
]
"""A document and the name of its schema."""


def run(linter: str, *files: Path) -> subprocess.CompletedProcess[str]:
    """Check *files*, or skip where the linter has no package for this platform."""
    program = shutil.which(linter, path=Path(sys.executable).parent)
    if program is None:
        pytest.skip(f"{linter} is not installed")
    return subprocess.run(  # noqa: S603
        [program, *LINTERS[linter][0], *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("linter", LINTERS)
def test_linters_have_nothing_to_say(linter: str) -> None:
    """Workflows and scripts pass what their field checks them with."""
    result = run(linter, *LINTERS[linter][1])
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("linter", LINTERS)
def test_a_linter_finds_a_fault(linter: str, tmp_path: Path) -> None:
    """They read the files that they are given."""
    right, wrong = FAULTS[linter]
    source = LINTERS[linter][1][0]
    broken = tmp_path / ".github/workflows" / source.name  # zizmor goes by the folder
    broken.parent.mkdir(parents=True)
    text, replaced = re.subn(right, wrong, source.read_text())
    assert replaced
    broken.write_text(text)
    assert run(linter, broken).returncode != 0


@pytest.mark.parametrize(
    ("schema", "path"), DOCUMENTS, ids=lambda value: getattr(value, "stem", "")
)
def test_documents_keep_to_their_schemas(schema: str, path: Path) -> None:
    """What GitHub reads has no field that it would not know, and none of the wrong type."""
    package = find_spec("check_jsonschema")  # importing it would take a second
    assert package is not None
    assert package.origin is not None
    schemas = Path(package.origin).with_name("builtin_schemas") / "vendor"
    validator = jsonschema_rs.validator_for(json.loads((schemas / f"{schema}.json").read_bytes()))
    document = yaml.safe_load(path.read_text())
    validator.validate(document)
    assert not validator.is_valid(document | {"no such field": 1})


def recipe(target: str) -> list[str]:
    """Return the commands of a target of the Makefile, as they are typed in a checkout."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert found is not None, target
    return [line.strip().replace("$(BIN)", ".venv/bin") for line in found[1].splitlines()]


def hooks() -> list[dict[str, Any]]:
    """Return the hooks of pre-commit."""
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"  # the pins are requirements.txt's
    found: list[dict[str, Any]] = repository["hooks"]
    return found


def test_the_hooks_of_pre_commit_are_make_check() -> None:
    """The same commands in the same order, on all files."""
    assert [hook["entry"] for hook in hooks()] == recipe("check")
    assert all(hook["always_run"] and not hook["pass_filenames"] for hook in hooks())


def commands() -> list[str]:
    """Return what the workflows run."""
    jobs = [job for path in WORKFLOWS for job in yaml.safe_load(path.read_text())["jobs"].values()]
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


def test_workflows_run_what_exists() -> None:
    """The targets of make and the scripts that they name are there."""
    targets = {t for run in commands() for t in re.findall(r"(?<=make )[a-z -]+(?= PYTHON)", run)}
    assert targets >= {"test", "release", "check dist-check"}
    for target in " ".join(targets).split():
        assert recipe(target)
    scripts = {script for run in commands() for script in re.findall(r"\.ci/\w+", run)}
    assert scripts
    assert all((ROOT / script).is_file() for script in scripts)


def test_each_action_is_pinned_to_one_commit() -> None:
    """A commit, not a tag that can be moved; and the same one wherever the action is used."""
    used = re.findall(r"uses: (\S+)@(.*)", "".join(path.read_text() for path in WORKFLOWS))
    pins = dict(used)
    assert all(re.fullmatch(r"[0-9a-f]{40} # v\d+\.\d+\.\d+", pin) for _, pin in used)
    assert all(pins[action] == pin for action, pin in used)


def test_tests_run_on_each_python_that_is_stated() -> None:
    """The classifiers of the distribution are in the matrix, on Linux and macOS."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    stated = set(re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"])))
    workflow = yaml.safe_load((GITHUB / "workflows/test.yml").read_text())
    matrix = workflow["jobs"]["test"]["strategy"]["matrix"]
    assert stated <= set(matrix["python"])
    assert {system.partition("-")[0] for system in matrix["system"]} == {"ubuntu", "macos"}


def test_they_name_no_host() -> None:
    """They work in any copy of the repository: no address stands in them."""
    files = [*GITHUB.rglob("*.yml"), *GITHUB.rglob("*.md"), ROOT / ".pre-commit-config.yaml"]
    assert len(files) > len(WORKFLOWS)
    assert [path.name for path in files if "://" in path.read_text()] == []
