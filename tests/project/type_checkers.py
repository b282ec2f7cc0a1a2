"""pyright and basedpyright on the public API's types, by `make check`; mypy checks all files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MISSPELT = """\
import sinch_qn
from sinch_qn import GlobalProcessState, QualifiedNumbersClient, errors
from sinch_qn.bulk import RunEvent, VoiceChallengeRum

sinch_qn.QualifiedNumberClient
errors.NotFoundErr
GlobalProcessState.VERIFYED
QualifiedNumbersClient.from_env(time_out=1)


def heard(event: RunEvent) -> bool:
    return event.what == "caled"
"""
WRONG_LINES = {3, 5, 6, 7, 8, 12}


@pytest.mark.parametrize("checker", ["pyright", "basedpyright"])
def test_types_are_right_and_misspellings_wrong(checker: str, tmp_path: Path) -> None:
    """`typing_checks` has errors on its marked lines only, and a misspelling is always one."""
    misspelt, settings = tmp_path / "misspelt.py", tmp_path / "pyrightconfig.json"
    misspelt.write_text(MISSPELT)
    checks = ROOT / "tests/project/typing_checks.py"
    settings.write_text(
        json.dumps(
            {
                "include": [str(checks), str(misspelt)],
                "extraPaths": [str(ROOT)],
                "pythonVersion": "3.11",
                "typeCheckingMode": "strict",
                "enableTypeIgnoreComments": True,
                "reportUnnecessaryTypeIgnoreComment": "error",
                "reportUnusedExpression": "none",
            }
        )
    )
    done = subprocess.run(  # noqa: S603 - this environment's
        [
            Path(sys.executable).with_name(checker),
            "--outputjson",
            *("--project", settings),
            *("--pythonpath", sys.executable),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = [
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1, each["message"])
        for each in json.loads(done.stdout)["generalDiagnostics"]
        if each["severity"] == "error"
    ]
    assert [each for each in found if each[0] != misspelt.name] == []
    assert {line for _, line, _ in found} == WRONG_LINES
