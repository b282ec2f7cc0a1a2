"""The house's floors: imports point down only, and each thing has its one room."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[2] / "sinch_qn"

FLOORS = {
    "cli": 5,
    "desk": 5,
    "bulk": 4,
    "sandbox": 4,
    "pytest_plugin": 4,
    "client": 3,
    "parsing": 3,
    "waiting": 2,
    "_pipeline": 2,
    "_paging": 2,
    "auth": 2,
    "rate_limit": 2,
    "_deadlines": 2,
    "_transport": 2,
    "_operations": 1,
    "_http": 1,
    "_codec": 1,
    "lifecycle": 1,
    "_checks": 1,
    "retry": 1,
    "webhooks": 1,
    "phone": 1,
    "_redaction": 0,
    "errors": 0,
    "_open_enums": 0,
    "models": 0,
    "_version": 0,
    "drift": 0,
}
"""The table of design.md; `sinch_qn` itself gives the client, so it is on the client's floor."""

NEIGHBOURS = {
    "pytest_plugin": {"sandbox"},
    "_pipeline": {"_deadlines", "_transport", "auth", "rate_limit"},
    "_http": {"_codec", "_operations"},
    "_checks": {"phone"},
    "retry": {"_operations"},
    "webhooks": {"_codec"},
    "errors": {"_redaction", "models"},
    "models": {"_open_enums"},
}
"""Who may import from a room on its own floor, beside itself."""

AIOHTTP = {"_transport.py", "sandbox/app.py", "sandbox/callbacks.py", "sandbox/server.py"}
"""Where aiohttp is imported; elsewhere it is only a type."""


class Import(NamedTuple):
    """One imported module or name."""

    module: str
    name: str
    for_types_only: bool


@cache
def tree(path: Path) -> ast.Module:
    """Return the syntax of a source file."""
    return ast.parse(path.read_text())


def sources() -> list[Path]:
    """Return every source file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> list[Import]:
    """Return what a source file imports, wherever in it."""
    found = []
    typing_blocks = {
        node
        for block in ast.walk(tree(path))
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree(path)):
        types_only = node in typing_blocks
        if isinstance(node, ast.Import):
            found += [Import(alias.name, "", types_only) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found += [Import(node.module or "", a.name, types_only) for a in node.names]
    return found


def room(path: Path) -> str:
    """Return the room that a source file is in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def rooms_entered(path: Path) -> set[str]:
    """Return the rooms that a source file imports from."""
    rooms = set()
    for module, name, _ in imports(path):
        package, _, inner = module.partition(".")
        if package == "sinch_qn":
            # `from sinch_qn import X` is a room's name, or else what the client's floor gives.
            rooms.add(inner.partition(".")[0] or (name if name in FLOORS else "client"))
    return rooms - {room(path)}


def test_every_room_has_a_floor() -> None:
    """A module that is on no floor has no place in the house."""
    assert {room(path) for path in sources()} - {"__init__"} <= set(FLOORS)


def test_imports_point_down() -> None:
    """A room imports from floors below it, or from the neighbours that the table allows."""
    wrong = {
        f"{path.relative_to(PACKAGE)} imports {entered}"
        for path in sources()
        if (here := room(path)) != "__init__"
        for entered in rooms_entered(path)
        if FLOORS[entered] >= FLOORS[here] and entered not in NEIGHBOURS.get(here, set())
    }
    assert not wrong


def test_neighbours_do_not_go_in_circles() -> None:
    """Neighbours share a floor, and none comes back to itself."""
    for here, allowed in NEIGHBOURS.items():
        seen, ahead = set[str](), set(allowed)
        while ahead:
            there = ahead.pop()
            assert FLOORS[there] == FLOORS[here], (here, there)
            assert there != here
            seen.add(there)
            ahead |= NEIGHBOURS.get(there, set()) - seen


def test_aiohttp_is_imported_by_the_transport_and_the_servers_only() -> None:
    """Everywhere else aiohttp is at most a type: its exceptions are translated in one place."""
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in sources()
        for module, _, types_only in imports(path)
        if module.partition(".")[0] == "aiohttp" and not types_only
    }
    assert users == AIOHTTP


def test_below_the_transport_there_is_no_io() -> None:
    """Rooms on floors 0 and 1 are pure: they import nothing that waits, connects or writes."""
    io = {"aiohttp", "asyncio", "socket", "ssl", "sqlite3", "urllib.request", "http.client"}
    for path in sources():
        if FLOORS.get(room(path), 9) <= 1:
            assert not io & {module for module, *_ in imports(path)}, path


def test_no_module_is_a_drawer_of_odds_and_ends() -> None:
    """A module is called by what it does."""
    drawers = {"utils", "util", "common", "base", "helpers", "const", "constants", "types", "misc"}
    parts = {
        p.removesuffix(".py").strip("_") for s in sources() for p in s.relative_to(PACKAGE).parts
    }
    assert not parts & drawers


def defined_names(path: Path) -> set[str]:
    """Return the names that a module makes itself, at its top level."""
    names = set()
    for node in tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {
                t.id for target in node.targets for t in ast.walk(target) if isinstance(t, ast.Name)
            }
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def test_only_a_packages_init_re_exports() -> None:
    """A name is imported from the module that makes it; only an `__init__` hands others' on."""
    for path in sources():
        if path.name != "__init__.py":
            assert "__all__" not in defined_names(path), path
        for module, name, _ in imports(path):
            source = PACKAGE.parent / (module.replace(".", "/") + ".py")
            if name and module.startswith("sinch_qn.") and source.is_file():
                assert name in defined_names(source), f"{path}: {name} is not {module}'s own"
