"""Straight-line readers of the models, from the source of the models.

A reader takes an object as the description documents it, in a third of the time of a converter.
It raises for anything else, which the converter then reads and explains.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

HEAD = '''\
"""Straight-line readers of the models: for JSON objects as documented, others raise. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any

import attrs

from sinch_qn import models


class OddError(Exception):
    """The object is not as documented; the converter can tell what is wrong, or read it."""


_new = object.__new__
_time = datetime.fromisoformat


def _setters(model: type) -> list[Callable[[object, Any], None]]:
    """Return what sets each field of a new *model*: its slots, as its `__init__` would."""
    return [vars(model)[field.name].__set__ for field in attrs.fields(model)]


def _members(enum: type[Enum], value: type) -> dict[Any, Any]:
    """Return the members by their plain value: in a dict, a look-up is 0.1 µs."""
    return {value(member): member for member in enum}
'''

_RESERVED = {*dir(builtins), "value", "get", "item", "models"}
"""Names that a local variable of a reader must not have."""


class Field(NamedTuple):
    """One field of a model."""

    name: str
    kind: str
    """Its annotation without `| None`."""
    wires: tuple[str, ...]
    """Its name in JSON, and its other names."""
    required: bool

    @property
    def local(self) -> str:
        """The variable that holds its value."""
        return f"{self.name}_" if self.name in _RESERVED else self.name


def readers_source(models: str, header: str) -> str:
    """Return the source of the readers for the source of the *models*, with *header* on top."""
    tree = ast.parse(models)
    enums = dict(_enums(tree))
    classes = dict(_models(tree))
    readable = {
        name
        for name in classes
        if not name.endswith("Request") and _is_readable(name, classes, enums)
    }
    used = {_item(field.kind) or field.kind for name in readable for field in classes[name]}
    tables = [_table(name, enums[name]) for name in enums if used & {name, f"{name} | int"}]
    functions = [_function(name, classes[name], enums) for name in classes if name in readable]
    rows = "".join(f"    models.{name}: _read_{_snake(name)},\n" for name in sorted(readable))
    readers = f"READERS: Mapping[type, Callable[[Any], Any]] = {{\n{rows}}}"
    doc = '"""The reader of each model that may be in a response."""'
    return "\n".join([header, HEAD, *tables, *functions, readers, doc])


def _enums(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield each enum's name and base."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.decorator_list:
            yield node.name, ast.unparse(node.bases[0])


def _models(tree: ast.Module) -> Iterator[tuple[str, list[Field]]]:
    """Yield each model's name and fields."""
    aliases = {
        node.target.id: ast.unparse(node.value)
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value
    }
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.decorator_list:
            rows = [row for row in node.body if isinstance(row, ast.AnnAssign)]
            yield node.name, [_field(row, aliases) for row in rows]


def _field(row: ast.AnnAssign, aliases: Mapping[str, str]) -> Field:
    call = row.value
    options = {k.arg: k.value for k in call.keywords} if isinstance(call, ast.Call) else {}
    metadata = ast.literal_eval(options["metadata"])
    kind = ast.unparse(row.annotation).removesuffix(" | None")
    return Field(
        ast.unparse(row.target),
        aliases.get(kind, kind),
        (metadata["wire"], *metadata.get("wire_aliases", ())),
        required=not {"default", "factory"} & options.keys(),
    )


def _is_readable(
    name: str, classes: Mapping[str, list[Field]], enums: Mapping[str, str], above: str = ""
) -> bool:
    """Whether the model and those in it have only kinds of fields that a reader can read."""
    if not classes[name]:
        return False
    for field in classes[name]:
        kind = _item(field.kind) or field.kind
        if kind in classes:
            if kind in (name, above) or not _is_readable(kind, classes, enums, name):
                return False
        elif kind.removesuffix(" | int") not in {*enums, *_PLAIN, "datetime"}:
            return False
    return True


_PLAIN = ("str", "int", "bool")


def _item(kind: str) -> str:
    """Return the kind of a list's items, or nothing."""
    found = re.fullmatch(r"list\[(\w+)\]", kind)
    return found[1] if found else ""


def _table(enum: str, base: str) -> str:
    plain = "str" if base == "OpenStrEnum" else "int"
    return f"{_constant(enum)} = _members(models.{enum}, {plain})"


def _function(name: str, fields: list[Field], enums: Mapping[str, str]) -> str:
    snake = _snake(name)
    wires = [wire for field in fields for wire in field.wires]
    setters = [f"_set_{snake}_{field.name}" for field in fields]
    lines = [
        f"_known_{snake} = frozenset({tuple(wires)!r}).issuperset",
        f"({', '.join(setters)},) = _setters(models.{name})",
        f"def _read_{snake}(value: Any) -> models.{name}:",
        f"    if type(value) is not dict or not _known_{snake}(value):",
        "        raise OddError",
        "    get = value.get",
    ]
    for field in fields:
        lines += [f"    {line}" for line in _statements(field, enums)]
    lines += [f"    item = _new(models.{name})"]
    lines += [
        f"    {setter}(item, {field.local})" for setter, field in zip(setters, fields, strict=True)
    ]
    return "\n".join([*lines, "    return item", ""])


def _statements(field: Field, enums: Mapping[str, str]) -> Iterator[str]:
    """Yield the statements that read one field."""
    local, kind = field.local, field.kind
    yield f'{local} = get("{field.wires[0]}")'
    for alias in field.wires[1:]:
        yield f"if {local} is None:"
        yield f'    {local} = get("{alias}")'
    if kind in _PLAIN:
        or_none = "" if field.required else f" and {local} is not None"
        yield f"if type({local}) is not {kind}{or_none}:"
        yield "    raise OddError"
        return
    if kind.endswith(" | int"):
        yield f"if type({local}) is not int and {local} is not None:"
        yield f"    {local} = {_constant(kind.removesuffix(' | int'))}[{local}]"
    else:
        yield f"if {local} is not None:"
        yield from (f"    {line}" for line in _present(local, kind, enums))
    if field.required:
        yield f"if {local} is None:"
        yield "    raise OddError"


def _present(local: str, kind: str, enums: Mapping[str, str]) -> Iterator[str]:
    """Yield the statements that read a value which is there."""
    plain = {"datetime": "str"}.get(kind, "list" if _item(kind) else "")
    if kind in enums:
        plain = "int" if enums[kind] == "OpenIntEnum" else ""  # True and 1.0 equal 1
    if plain:
        yield f"if type({local}) is not {plain}:"
        yield "    raise OddError"
    if kind == "datetime":
        yield f"{local} = _time({local})"
        yield f"if {local}.tzinfo is None:"
        yield "    raise OddError"
    elif kind in enums:
        yield f"{local} = {_constant(kind)}[{local}]"
    elif (item := _item(kind)) in _PLAIN:
        yield f"if any(type(each) is not {item} for each in {local}):"
        yield "    raise OddError"
        yield f"{local} = [*{local}]"
    elif item in enums:
        yield f"{local} = [{_constant(item)}[each] for each in {local}]"
    elif item:
        yield f"{local} = [_read_{_snake(item)}(each) for each in {local}]"
    else:
        yield f"{local} = _read_{_snake(kind)}({local})"


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _constant(enum: str) -> str:
    return f"_{_snake(enum).upper()}"
