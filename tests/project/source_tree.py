"""The syntax of the package's files: their imports and definitions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "sinch_qn"


class Import(NamedTuple):
    """One imported module, or one name of it."""

    module: str
    """The full name: `sinch_qn.bulk.states`, `collections.abc`."""
    name: str
    """The imported name; empty if the module itself is imported."""
    line: int
    at_top: bool
    """Whether it is a top-level statement, also inside a `try`."""
    target: Path | None
    """The file of this package that is imported from."""


@cache
def sources() -> tuple[Path, ...]:
    """Return every source file of the package."""
    return tuple(sorted(PACKAGE.rglob("*.py")))


@cache
def tree(path: Path) -> ast.Module:
    """Return the syntax of a file."""
    return ast.parse(path.read_text(), str(path))


def name_of(path: Path) -> str:
    """Return a file's path below the package: `bulk/states.py`."""
    return path.relative_to(PACKAGE).as_posix()


def job(path: Path) -> str:
    """Return the first paragraph of a module's docstring; of a folder's, its `__init__`'s."""
    text = ast.get_docstring(tree(path / "__init__.py" if path.is_dir() else path)) or ""
    return " ".join(text.partition("\n\n")[0].split())


def file_of(module: str) -> Path | None:
    """Return the file of a module of this package; None for any other."""
    path = ROOT.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_relative_to(PACKAGE) and file.is_file():
            return file
    return None


@cache
def imports(path: Path) -> tuple[Import, ...]:
    """Return all imports of a file, also in functions and under `TYPE_CHECKING`."""
    return tuple(_imports(tree(path), at_top=True))


def _imports(parent: ast.AST, *, at_top: bool) -> Iterator[Import]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, "", node.lineno, at_top, file_of(alias.name))
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                submodule = f"{module}.{alias.name}"
                if target := file_of(submodule):
                    yield Import(submodule, "", node.lineno, at_top, target)
                else:
                    yield Import(module, alias.name, node.lineno, at_top, file_of(module))
        else:
            yield from _imports(node, at_top=at_top and isinstance(node, ast.Try))


@cache
def defined_names(path: Path) -> frozenset[str]:
    """Return the names that a module defines at its top level."""
    names: set[str] = set()
    for node in _statements(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    return frozenset(names)


def _statements(module: ast.Module) -> Iterator[ast.stmt]:
    for node in module.body:
        yield node
        if isinstance(node, ast.If):
            yield from node.body


def functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield each function of a file with its class, if it is a method."""
    for node in ast.walk(tree(path)):
        children = node.body if isinstance(node, ast.ClassDef) else ast.iter_child_nodes(node)
        for child in children:
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name if isinstance(node, ast.ClassDef) else "", child


def attributes(parent: ast.AST) -> Iterator[ast.Attribute]:
    """Yield each `x.name` below a node."""
    for node in ast.walk(parent):
        if isinstance(node, ast.Attribute):
            yield node


def names_used(parent: ast.AST) -> set[str]:
    """Return the names below a node."""
    return {node.id for node in ast.walk(parent) if isinstance(node, ast.Name)}
