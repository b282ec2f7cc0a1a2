"""The architecture, in twelve rules over the package's files.

`python -m tests.project.test_architecture` writes the tables of `architecture`, the first line of
each file's docstring and the rules into docs/explanation/layers.md.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple, TypeAlias

from sinch_qn import _operations
from sinch_qn._operations import Operation
from tests.project.architecture import ALIASES, EXCEPTIONS, FLOORS, IO, NEIGHBOURS, OWNERS, PURE
from tests.project.source_tree import (
    PACKAGE,
    ROOT,
    Import,
    attributes,
    defined_names,
    functions,
    imports,
    job,
    name_of,
    names_used,
    sources,
    tree,
)

PAGE = ROOT / "docs/explanation/layers.md"
PICTURE = ROOT / "docs/explanation/architecture.md"
WRITE = "python -m tests.project.test_architecture"
INTRODUCTION = f"""\
# Layers

<!-- Written by `{WRITE}`: do not edit. -->

A file imports from lower floors of its folder only; between folders, the floors of the folders
count. "Imports" in a line names what a file imports from its own floor. Each line is the first of
the file's docstring. `tests/project/test_architecture.py` holds the code to the rules below.
"""


class Finding(NamedTuple):
    """A place that breaks a rule, and its remedy."""

    path: Path
    line: int
    what: str
    advice: str


def check(rule: int, findings: Iterable[Finding]) -> None:
    """Fail for each finding without an exception and each exception without a finding."""
    unused = {row: True for row in EXCEPTIONS if row.rule == rule}
    wrong = []
    for path, line, what, advice in findings:
        where = name_of(path) if path.is_relative_to(PACKAGE) else ""
        rows = [row for row in unused if row.where == where and row.what in (what, "*")]
        unused |= dict.fromkeys(rows, False)
        if not rows:
            wrong.append(f"{path.relative_to(ROOT)}:{line}: {what}: {advice}")
    wrong += [f"{row}: remove this exception: nothing needs it" for row in unused if unused[row]]
    assert not wrong, "\n".join([f"rule {rule}", *sorted(wrong)])


def level(folder: str, name: str) -> float:
    """Return the floor of a file or folder in its folder; a face is above all."""
    floors = {each: n for n, names in FLOORS[folder].items() for each in names.split()}
    return floors.get(name, 99 if name == "__init__" else -1)


def fork(path: Path, target: Path) -> tuple[str, str, str]:
    """Return the folder that contains both files, and the place of each in it."""
    here, there = (p.relative_to(PACKAGE).with_suffix("").parts for p in (path, target))
    pairs = enumerate(zip(here, there, strict=False))
    shared = next(n for n, (one, other) in pairs if one != other)
    return "/".join(here[:shared]), here[shared], there[shared]


Edges: TypeAlias = Mapping[tuple[str, str], tuple[Path, Import]]
"""Pairs of an importer and an imported file, each with one such import."""


def test_nothing_imports_in_circles() -> None:
    """No circles: files sort by their imports, and so do the files and folders of each folder.

    Imports in functions and for type checkers count.
    """
    files, entries = {}, {}
    for path in sources():
        for each in imports(path):
            if each.target and each.target != path:
                folder, here, there = fork(path, each.target)
                files[name_of(path), name_of(each.target)] = path, each
                entries[f"{folder}/{here}", f"{folder}/{there}"] = path, each
    check(1, [*_circle(files)] or _circle(entries))


def _circle(edges: Edges) -> Iterator[Finding]:
    graph: dict[str, list[str]] = {}
    for here, there in edges:
        graph.setdefault(here, []).append(there)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = error.args[1][::-1]  # each imports the next
        advice = f"part of the circle {' → '.join(circle)}: move what both need to a lower file"
        for edge in itertools.pairwise(circle):
            path, each = edges[edge]
            yield Finding(path, each.line, each.module, advice)


def test_imports_point_down() -> None:
    """Imports point down: to a lower floor of the folder, or to a neighbour that the table names.

    Two files in different folders are compared where their paths diverge. Every file has a floor.
    """
    gone = [p for folder in FLOORS for p in contents(folder) if not p.exists()]
    assert not gone, f"remove from FLOORS: {gone}"
    check(2, itertools.chain(_without_a_floor(), _imports_up()))
    edges = [(p, i.target) for p in sources() for i in imports(p) if i.target not in (None, p)]
    used = {fork(path, target)[1:] for path, target in edges if target}
    unused = {(here, there) for here, names in NEIGHBOURS.items() for there in names} - used
    assert not unused, f"remove from NEIGHBOURS: {unused}"


def _without_a_floor() -> Iterator[Finding]:
    for path in sources():
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        for n, name in enumerate(parts):
            folder = "/".join(parts[:n])
            if folder not in FLOORS or level(folder, name) < 0:
                yield Finding(path, 1, name, f"no floor: give it one in FLOORS[{folder!r}]")


def _imports_up() -> Iterator[Finding]:
    for path in sources():
        for module, _, line, _, target in imports(path):
            if target is None or target == path:
                continue
            folder, here, there = fork(path, target)
            if level(folder, here) > level(folder, there):
                continue
            if folder or there not in NEIGHBOURS.get(here, ()):
                yield Finding(
                    path, line, module, f"on no lower floor than {here}: move one of them"
                )


def test_privacy_ends_at_the_file() -> None:
    """No private access across files: `_x` belongs to `self`, `cls` or the module."""
    check(3, _private_access())


def _private_access() -> Iterator[Finding]:
    private = re.compile(r"_[a-z0-9]\w*(?<!_)", re.IGNORECASE)
    advice = "private to another file: make it public there, or use what is"
    for path in sources():
        for node in attributes(tree(path)):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if private.fullmatch(node.attr) and not own:
                yield Finding(path, node.lineno, node.attr, advice)
        for each in imports(path):
            if private.fullmatch(each.name):
                yield Finding(path, each.line, each.name, advice)


def test_faces_are_for_guests() -> None:
    """Faces serve other packages: inside a package, import from the file that defines the name.

    A package's face is its `__init__`: only there are names re-exported and is `__all__`. Other
    packages and examples import from the face or from a public module.
    """
    check(4, itertools.chain(_not_from_the_defining_file(), _private_modules()))


def _not_from_the_defining_file() -> Iterator[Finding]:
    for path in sources():
        if path.name != "__init__.py" and "__all__" in defined_names(path):
            yield Finding(path, 1, "__all__", "only a face has it: remove it")
        for module, name, line, _, target in imports(path):
            if target is None or not name or name in defined_names(target):
                continue
            if target.name != "__init__.py" or path.is_relative_to(target.parent):
                yield Finding(path, line, f"{module}.{name}", "import it from its defining file")


def _private_modules() -> Iterator[Finding]:
    for path in (*sources(), *sorted((ROOT / "examples").glob("*.py"))):
        for module, _, line, _, target in imports(path):
            if target is None:
                continue
            entered = [p for p in target.parents if p != ROOT and not path.is_relative_to(p)]
            outermost = min(entered, key=lambda p: len(p.parts), default=None)
            if outermost is None or not outermost.is_relative_to(PACKAGE):
                continue
            parts = target.relative_to(outermost).with_suffix("").parts
            if any(re.match(r"_[^_]", part) for part in parts):
                yield Finding(path, line, module, "private to its package: use a public module")


def test_imports_stand_at_the_top() -> None:
    """Imports stand at the top of the file, absolute; none in a function or `TYPE_CHECKING`."""
    check(5, _not_at_the_top())


def _not_at_the_top() -> Iterator[Finding]:
    for path in sources():
        for module, _, line, at_top, _ in imports(path):
            if not at_top or module.startswith("."):
                yield Finding(path, line, module, "import it at the top of the file, absolute")
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                yield Finding(path, node.lineno, "import_module", "use an import statement")


def test_each_dependency_has_one_owner() -> None:
    """One owner a dependency: its exceptions and types are translated in one place."""
    check(6, _not_the_owners())
    used = {i.module.partition(".")[0] for path in sources() for i in imports(path)}
    assert set(OWNERS) <= used, f"remove from OWNERS: {set(OWNERS) - used}"


def _not_the_owners() -> Iterator[Finding]:
    for path in sources():
        for each in imports(path):
            dependency = each.module.partition(".")[0]
            at_home = dependency in sys.stdlib_module_names or dependency == "sinch_qn"
            owner = OWNERS.get(dependency, "anywhere" if at_home else "nobody")
            if owner != "anywhere" and not name_of(path).startswith(tuple(owner.split())):
                yield Finding(path, each.line, dependency, f"its owner is {owner}: use that")


def test_pure_files_have_no_io() -> None:
    """Pure files do no I/O and import none, not even indirectly.

    Pure are floors 0 and 1 of `sinch_qn/` and the files in the table.
    """
    check(7, _impurities())


def _impurities() -> Iterator[Finding]:
    shallow = [p for p in sources() if p.parent == PACKAGE and 0 <= level("", p.stem) <= 1]
    ahead: list[tuple[Path, Import | None, Path]] = []
    ahead += [(path, None, path) for path in (*shallow, *(PACKAGE / name for name in PURE))]
    seen = {path for path, *_ in ahead}
    while ahead:
        path, entered_by, pure = ahead.pop()
        advice = f"a pure file reaches I/O in {name_of(path)} here: move one of them"
        for each in imports(path):
            start = entered_by or each
            if each.target and each.target not in seen:
                seen.add(each.target)
                ahead.append((each.target, start, pure))
            elif {each.module, each.module.partition(".")[0], f"{each.module}.{each.name}"} & {*IO}:
                yield Finding(pure, start.line, each.module, advice)
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("open", "print", "input"):
                yield Finding(path, node.lineno, ast.unparse(node), advice)


def test_unsafe_writes_have_one_door() -> None:
    """Unsafe writes have one path: in `bulk/`, only `UnsafeWrite` sends non-idempotent requests.

    The client's non-idempotent methods are used only in its `send`, which only `at_most_once`
    calls.
    """
    check(8, _unsafe_writes_elsewhere())


def _unsafe_methods() -> set[str]:
    """Return the client's methods that send non-idempotent requests, or call one that does.

    A resource's have its name before theirs: `hosting_orders.import_numbers`.
    """
    rows = vars(_operations).items()
    unsafe = {k for k, row in rows if isinstance(row, Operation) and not row.idempotent}
    direct, all_methods = 0, set()
    for path in (PACKAGE / "client.py", *sorted((PACKAGE / "resources").glob("*.py"))):
        own = [method for cls, method in functions(path) if cls]
        found = {method.name for method in own if names_used(method) & unsafe}
        direct += len(found)
        for _ in own:  # methods that call one of these, at any distance
            found |= {m.name for m in own if {f"self.{each}" for each in found} & _calls(m)}
        all_methods |= {each if path.stem == "client" else f"{path.stem}.{each}" for each in found}
    assert direct == len(unsafe) > 0, f"one method each: {all_methods}, {unsafe}"
    return all_methods


def _calls(function: ast.AST) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}


def _unsafe_writes_elsewhere() -> Iterator[Finding]:
    methods = _unsafe_methods()
    contract = {"commit_intent", "send", "withdraw", "mark_unknown"}
    for path in (p for p in sources() if p.is_relative_to(PACKAGE / "bulk")):
        inside: set[ast.AST] = set()
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                made = {m.name: m for m in node.body if isinstance(m, ast.AsyncFunctionDef)}
                inside |= set(ast.walk(made["send"])) if contract <= set(made) else set()
        for node in attributes(tree(path)):
            last_two = ".".join(ast.unparse(node).split(".")[-2:])
            if {node.attr, last_two} & methods and node not in inside:
                advice = "not idempotent: send it as an UnsafeWrite through at_most_once"
                yield Finding(path, node.lineno, node.attr, advice)
            if node.attr == "send" and path.name != "at_most_once.py":
                yield Finding(path, node.lineno, ast.unparse(node), "leave it to at_most_once")


def test_the_command_line_is_a_leaf() -> None:
    """`cli/` is a leaf: no other folder imports it, and only it prints."""
    check(9, _imports_of_cli_and_prints())


def _imports_of_cli_and_prints() -> Iterator[Finding]:
    for path in (p for p in sources() if not p.is_relative_to(PACKAGE / "cli")):
        for module, _, line, _, target in imports(path):
            if target and target.is_relative_to(PACKAGE / "cli"):
                yield Finding(path, line, module, "move it to a lower folder; cli imports it")
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Attribute | ast.Name):
                text = ast.unparse(node)
                if text in ("print", "input", "sys.stdin", "sys.stdout", "sys.stderr"):
                    yield Finding(path, node.lineno, text, "return it, and let cli print it")


def test_sizes() -> None:
    """No file over 450 lines, no class over 300, no function over 40.

    A function's signature and docstring are not counted.
    """
    check(10, _too_long())


def _too_long() -> Iterator[Finding]:
    for path in sources():
        if (lines := len(path.read_text().splitlines())) > 450:
            yield Finding(path, 1, "file", f"{lines} lines: split it")
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef) and (lines := extent(node, node)) > 300:
                yield Finding(path, node.lineno, node.name, f"{lines} lines: split the class")
        for _, function in functions(path):
            body = function.body[1:] if ast.get_docstring(function) else function.body
            if body and (lines := extent(body[0], function)) > 40:
                yield Finding(path, function.lineno, function.name, f"{lines} lines: split it")


def extent(first: ast.stmt, last: ast.stmt) -> int:
    """Return the lines from the start of one statement to the end of another."""
    return (last.end_lineno or 0) - first.lineno + 1


def test_names() -> None:
    """A module's name is a noun: no catch-all such as `utils`, no bare participle or adjective.

    An enum has at most one alias in package, tests and examples: `GlobalProcessState` is also
    `SinchState`.
    """
    check(11, itertools.chain(_bad_module_names(), _aliases()))


def _bad_module_names() -> Iterator[Finding]:
    drawers = {"utils", "util", "common", "base", "helpers", "const", "constants", "types", "misc"}
    for path in sources():
        name = path.parent.name if path.name == "__init__.py" else path.stem
        word = name.strip("_")
        if word in drawers:
            yield Finding(path, 1, name, "name it after its purpose")
        if re.fullmatch(r"[a-z]+(ing|ed|able|ible|ous|less|ful)", word):
            yield Finding(path, 1, name, "a participle or an adjective: use a noun")


def _aliases() -> Iterator[Finding]:
    enums = {
        node.name
        for path in sources()
        for node in tree(path).body
        if isinstance(node, ast.ClassDef) and any("Enum" in ast.unparse(b) for b in node.bases)
    }
    folders = ("sinch_qn", "tests", "examples", "benchmarks", "codegen")
    for path in (p for folder in folders for p in sorted((ROOT / folder).rglob("*.py"))):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ImportFrom):
                pairs = [(alias.name, alias.asname or alias.name) for alias in node.names]
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
                pairs = [(node.value.id, ast.unparse(target)) for target in node.targets]
            else:
                continue
            for name, alias in pairs:
                names = {name, ALIASES.get(name, name)}
                if name in enums and alias not in names:
                    yield Finding(path, node.lineno, alias, f"use {' or '.join(sorted(names))}")


def test_the_tables_are_printed() -> None:
    """The page on the layers shows these tables, that on the architecture names existing files."""
    assert PAGE.read_text() == page(), f"{PAGE.name} differs from the code: run {WRITE}"
    picture = PICTURE.read_text().partition("```text\n")[2].partition("```")[0]
    named = re.findall(r"\b\w+\.py\b", picture)
    missing = {file for file in named if not (PACKAGE / file).exists()}
    assert named, "it has no picture of a call"
    assert not missing, f"its picture names {missing}: correct it"


def contents(folder: str) -> dict[Path, int]:
    """Return the files and folders of a folder, and their floors."""
    paths = {
        PACKAGE / folder / n: floor
        for floor, names in FLOORS[folder].items()
        for n in names.split()
    }
    return {p if p.is_dir() else p.with_suffix(".py"): floor for p, floor in paths.items()}


def label(path: Path) -> str:
    """Return a file or folder as the tables show it."""
    return f"`{path.name}/`" if path.is_dir() else f"`{path.name}`"


def page() -> str:
    """Return the page on the architecture."""
    parts = [INTRODUCTION]
    for folder in FLOORS:
        title = f"sinch_qn/{folder}".strip("/")
        parts += [f"## `{title}/`\n", "| floor | file or folder | what it does |", "|---|---|---|"]
        for path, floor in contents(folder).items():
            beside = () if folder else sorted(NEIGHBOURS.get(path.stem, ()))
            also = f" Imports {' '.join(f'`{name}`' for name in beside)}." if beside else ""
            parts.append(f"| {floor} | {label(path)} | {job(path)}{also} |")
        parts.append("")
    rules = [f for name, f in globals().items() if name.startswith("test_")]
    laws = [" ".join((inspect.getdoc(rule) or "").split()) for rule in rules]
    parts += ["## Rules\n", *(f"{n}. {law}" for n, law in enumerate(laws, 1))]
    parts += ["\n## Exceptions\n", "| rule | file | what | why |", "|---|---|---|---|"]
    parts += [f"| {r.rule} | `{r.where}` | `{r.what}` | {r.reason} |" for r in EXCEPTIONS]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
