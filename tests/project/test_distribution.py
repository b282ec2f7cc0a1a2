"""A release has exactly the tracked files, and its version is in the changelog."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from sinch_qn import __version__
from tests.project import distribution
from tests.project.distribution import ROOT, expected, findings, main

SOURCES = {"sinch_qn/client.py": b"client", "tests/test_client.py": b"test", "LICENSE": b"MIT"}
WHEEL, SDIST = f"sinch_qn-{__version__}-py3-none-any.whl", f"sinch_qn-{__version__}.tar.gz"


def write(path: Path, files: Mapping[str, bytes]) -> None:
    """Write *files* into an archive."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w") as wheel:
            for name, data in files.items():
                wheel.writestr(name, data)
        return
    with tarfile.open(path, "w:gz") as sdist:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            sdist.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize("archive", [WHEEL, SDIST])
def test_an_archive_has_each_tracked_file_unchanged_and_no_other(
    archive: str, tmp_path: Path
) -> None:
    """A missing, an additional and a changed file are each found."""
    path = tmp_path / archive
    files, made = expected(path, SOURCES)
    whole = files | dict.fromkeys(made, b"made")
    write(path, whole)
    assert list(findings(path, SOURCES)) == []
    (client,) = (name for name in files if name.endswith("client.py") and "tests" not in name)
    write(path, {name: data for name, data in whole.items() if name != client})
    assert list(findings(path, SOURCES)) == [f"{archive} lacks {client}"]
    write(path, whole | {client: b"patched"})
    assert list(findings(path, SOURCES)) == [f"{archive} has another {client} than the checkout"]
    other = client.replace("client", "secret")
    write(path, whole | {other: b""})
    assert list(findings(path, SOURCES)) == [
        f"{archive} has {other}, which is not under version control"
    ]


def test_a_release_is_a_wheel_and_an_sdist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing else is uploaded: the folder holds these two of this version."""
    monkeypatch.setattr(distribution, "tracked", lambda: SOURCES)
    for name in (WHEEL, SDIST):
        files, made = expected(tmp_path / name, SOURCES)
        write(tmp_path / name, files | dict.fromkeys(made, b"made"))
    assert main([str(tmp_path)]) == 0
    (tmp_path / "sinch_qn-0.0.1.tar.gz").write_bytes(b"")
    assert main([str(tmp_path)]) == 1
    assert "sinch_qn-0.0.1.tar.gz is no part of release" in capsys.readouterr().out


def git(folder: Path, *arguments: str) -> None:
    """Run git in *folder*, as somebody."""
    somebody = ("-c", "user.name=A", "-c", "user.email=a@example.com")
    subprocess.run(["git", *somebody, *arguments], cwd=folder, check=True, capture_output=True)  # noqa: S603, S607


def ready(folder: Path) -> str:
    """Return what `make release` finds wrong with a checkout before it builds anything."""
    script = ["bash", str(folder / ".ci/release"), "--ready"]
    return subprocess.run(script, capture_output=True, text=True, check=False).stderr  # noqa: S603


def test_only_a_committed_and_described_version_is_released(tmp_path: Path) -> None:
    """Uncommitted changes, a changelog without the version, and a used version are refused."""
    for name in (".ci/release", "sinch_qn/_version.py"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(ROOT / name, tmp_path / name)
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text("## [Unreleased]\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    assert "changes that are not committed" in ready(tmp_path)
    git(tmp_path, "commit", "-m", "begin")
    assert f'no heading "## [{__version__}] - ' in ready(tmp_path)
    changelog.write_text(f"## [Unreleased]\n\n## [{__version__}] - 2026-11-26\n")
    git(tmp_path, "commit", "-am", "describe")
    assert ready(tmp_path) == ""
    git(tmp_path, "tag", f"v{__version__}")
    assert ready(tmp_path) == ""  # the workflow runs on the tag
    git(tmp_path, "commit", "--allow-empty", "-m", "go on")
    assert f"v{__version__} is another commit" in ready(tmp_path)
