"""The page on the licences of the dependencies, from the metadata of the installed packages.

Versions and the extras' own extras are left out, so that the page changes only with a licence or
a dependency.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PAGE = Path("docs/reference/licences.md")

_ENVIRONMENT = {
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "implementation_name": "cpython",
    "platform_system": "Linux",
    "python_full_version": "3.11.0",
    "python_version": "3.11",
    "sys_platform": "linux",
}
"""One platform for every machine: the page must be the same on all."""

_CLASSIFIERS = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: BSD License": "BSD",
    "License :: OSI Approved :: MIT License": "MIT",
}
_TEXTS = {"Apache 2.0": "Apache-2.0", "MIT License": "MIT"}

_HEAD = """\
# Licences

<!-- Written by `python -m codegen`: do not edit. -->

sinch_qn is under the MIT licence. It contains no other project's code, but needs
other packages: these, on Linux with Python 3.11, by what each states of itself. `make check` finds
a change, and each release has an SBOM (`make release`).

**LGPL**: the extra `distributed` installs psycopg, the driver of PostgreSQL, under LGPL-3.0-only;
without the extra it is not there. sinch_qn uses it as a library, unchanged, which leaves your code
its own licence. If you distribute a copy of psycopg, in a container image for instance, the LGPL's
terms hold for that copy. `psycopg-binary` also contains libpq and OpenSSL, which have licences of
their own.

| package | licence | installed by |
|---|---|---|
"""


def licences_page(root: Path) -> str:
    """Return the page: each package that the distribution or an extra of it installs."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {"": project["dependencies"], **project["optional-dependencies"]}
    installed_by = defaultdict[str, list[str]](list)
    core = _closure(extras[""], extras)
    for extra, requirements in extras.items():
        for name in _closure(requirements, extras) - (core if extra else set()):
            installed_by[name].append(f"`[{extra}]`" if extra else "always")
    rows = (
        f"| {name} | {licence_of(name)} | {', '.join(installed_by[name])} |\n"
        for name in sorted(installed_by)
    )
    return _HEAD + "".join(rows)


def licence_of(name: str) -> str:
    """Return the licence that an installed package states; `SystemExit` if it states none."""
    about = metadata.metadata(name).json
    if expression := about.get("license_expression"):
        return str(expression)
    text = str(about.get("license", ""))
    stated = [_CLASSIFIERS[each] for each in about.get("classifier", ()) if each in _CLASSIFIERS]
    licence = _TEXTS.get(text, text if len(text) < 30 else "") or " AND ".join(stated)
    if not licence:
        raise SystemExit(f"{name} states no licence that codegen/licences.py knows: add it there")
    return licence


def _closure(requirements: list[str], extras: dict[str, list[str]]) -> set[str]:
    """Return the names of the packages that *requirements* install, at any depth."""
    found: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(Requirement(each), "") for each in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        marker = requirement.marker
        if marker is not None and not marker.evaluate(_ENVIRONMENT | {"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        if name == "sinch-qn":
            waiting += [(Requirement(r), "") for e in requirement.extras for r in extras[e]]
            continue
        found.add(name)
        for chosen in ("", *requirement.extras):
            waiting += [(Requirement(each), chosen) for each in metadata.requires(name) or ()]
    return found
