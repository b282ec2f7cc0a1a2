"""Check of a release's archives: each tracked file is in its archive, unchanged, and no other.

`python -m tests.project.distribution FOLDER` exits with 1 and names what differs.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sinch_qn import __version__

ROOT = Path(__file__).parents[2]

_NAME = f"sinch_qn-{__version__}"
_INFO = f"{_NAME}.dist-info"
_MADE = {f"{_INFO}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt")}


def tracked(root: Path = ROOT) -> dict[str, bytes]:
    """Return the content of every file under version control, by its path."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True)  # noqa: S607
    names = listed.stdout.decode().split("\0")
    return {name: (root / name).read_bytes() for name in names if name}


def read_archive(path: Path) -> dict[str, bytes]:
    """Return the content of each file in a wheel or an sdist."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}
    with tarfile.open(path) as sdist:
        files = ((member.name, sdist.extractfile(member)) for member in sdist)
        return {name: file.read() for name, file in files if file is not None}


def expected(path: Path, sources: Mapping[str, bytes]) -> tuple[dict[str, bytes], set[str]]:
    """Return the files that the archive *path* has of *sources*, and the names of those it adds."""
    if path.suffix == ".whl":
        package = {name: data for name, data in sources.items() if name.startswith("sinch_qn/")}
        return package | {f"{_INFO}/licenses/LICENSE": sources["LICENSE"]}, _MADE
    return {f"{_NAME}/{name}": data for name, data in sources.items()}, {f"{_NAME}/PKG-INFO"}


def findings(path: Path, sources: Mapping[str, bytes]) -> Iterator[str]:
    """Yield what the archive *path* has too much, too little, or different."""
    files, made = expected(path, sources)
    found = read_archive(path)
    for name in sorted(files.keys() | made | found.keys()):
        if name not in found:
            yield f"{path.name} lacks {name}"
        elif name not in files and name not in made:
            yield f"{path.name} has {name}, which is not under version control"
        elif name in files and found[name] != files[name]:
            yield f"{path.name} has another {name} than the checkout"


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the archives of a folder, and return the exit code."""
    (folder,) = sys.argv[1:] if arguments is None else arguments
    archives = [Path(folder, f"{_NAME}{suffix}") for suffix in ("-py3-none-any.whl", ".tar.gz")]
    others = sorted(str(path) for path in set(Path(folder).iterdir()) - set(archives))
    sources = tracked()
    found = [f"{path} is no part of release {__version__}" for path in others]
    found += [line for path in archives for line in findings(path, sources)]
    print("\n".join(found) or f"{folder}: a wheel and an sdist of the tracked files")  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
