"""The generated readers read what the converter reads, and the same from it."""

from __future__ import annotations

import contextlib
import copy
import pickle
import random
import types
from collections.abc import Callable, Iterator
from datetime import datetime
from enum import Enum
from functools import partial
from typing import Any, get_args, get_origin

import attrs
import pytest

from sinch_qn import _codec, drift, models
from sinch_qn._codec import decode, decode_items, make_converter
from sinch_qn._open_enums import OpenIntEnum
from sinch_qn._readers import READERS
from sinch_qn.errors import InvalidResponseError

CONVERTER = make_converter({})

OBJECTS = 30_000
"""Odd objects that are compared."""

ODD: tuple[Any, ...] = (
    *(None, "", "x", "+12025550134", "1", "-1", " ", "None", "DONE", "done", "HOSTED", "1.0"),
    *(0, 1, 2, -1, 17, 2**63, 2**200, 0.0, 1.0, 1.5, True, False, float("inf"), float("nan")),
    *("2019-08-24T14:15:22Z", "2019-08-24t14:15:22z", "2019-08-24T14:15:22", "2019-08-24"),
    *("2016-12-31T23:59:60Z", "0001-01-01T00:00:00+14:00", "2019-08-24T14:15:22.123456789Z"),
    *("GLOBAL_PROCESS_STATE_VERIFIED", "global_process_state_verified", "VERIFIED", "STATE_NEW"),
    *("\ud800", "ü" * 300, [], [None], [1], ["x"], [[]], [{}], {}, {"status": "DONE"}, {"x": 1}),
    *([{"phoneNumber": "+1"}, 1, None, {"phoneNumber": []}], {"status": 1, "error": 2}),
)
"""Values that a field may have: documented for some, odd for others."""


def documented(kind: Any, rng: random.Random) -> Any:
    """Return a documented JSON value of a field of *kind*."""
    if get_origin(kind) is list:
        return [documented(get_args(kind)[0], rng) for _ in range(rng.randint(0, 3))]
    if isinstance(kind, types.UnionType):
        return documented(rng.choice([k for k in get_args(kind) if k is not types.NoneType]), rng)
    if attrs.has(kind):
        return {
            rng.choice([f.metadata["wire"], *f.metadata.get("wire_aliases", ())]): documented(
                f.type, rng
            )
            for f in fields(kind)
            if f.default is attrs.NOTHING or rng.random() < 0.8
        }
    if issubclass(kind, Enum):
        value = rng.choice([*kind]).value
        return value if issubclass(kind, OpenIntEnum) else str(value)
    if kind is datetime:
        return rng.choice(["2019-08-24T14:15:22Z", "2019-08-24T14:15:22.123+02:00"])
    return {str: "text", int: 7, bool: True}[kind]


def fields(model: type) -> tuple[attrs.Attribute[Any], ...]:
    """Return the fields of *model*, with their types."""
    attrs.resolve_types(model)
    found: tuple[attrs.Attribute[Any], ...] = attrs.fields(model)
    return found


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each container in *value* with each of its keys."""
    for key in [*value] if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


def spoil(value: dict[str, Any], rng: random.Random) -> Any:
    """Return *value* with odd values, unknown fields, or gaps in a few places."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(0, 3)):
        inside = [*places(value)]
        if not inside or rng.random() < 0.1:
            value[rng.choice(["new", "status", "phoneNumber", "x" * 99])] = rng.choice(ODD)
            continue
        container, key = rng.choice(inside)
        if isinstance(container, dict) and rng.random() < 0.3:
            del container[key]
        else:
            container[key] = copy.deepcopy(rng.choice(ODD))
    return rng.choice(ODD) if rng.random() < 0.01 else value


@contextlib.contextmanager
def only_the_converter() -> Iterator[None]:
    """Read without the generated readers."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_codec, "_reader", CONVERTER.get_structure_hook)
        yield


def result(read: Callable[[], Any], drifts: list[tuple[object, ...]]) -> tuple[object, ...]:
    """Return what *read* returns or raises, as text, too, and the drifts that it records."""
    drifts.clear()
    try:
        value = read()
    except InvalidResponseError as error:
        return "error", str(error), error.outcome, [*drifts]
    return type(value), repr(value), value, [*drifts]


def both_results(
    read: Callable[[], Any], drifts: list[tuple[object, ...]]
) -> tuple[tuple[object, ...], tuple[object, ...]]:
    """Return the result of *read* with the generated readers, and with the converter only."""
    ours = result(read, drifts)
    with only_the_converter():
        return ours, result(read, drifts)


@pytest.fixture
def drifts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Record each drift, in its order, and not only the first hundred."""
    recorded: list[tuple[object, ...]] = []
    monkeypatch.setattr(drift, "record", lambda *seen: recorded.append(seen))
    return recorded


@pytest.mark.parametrize("model", READERS, ids=lambda model: model.__name__)
def test_a_reader_takes_what_is_documented(model: type) -> None:
    """Documented objects are read without the converter, to a model that is equal in all ways."""
    rng = random.Random(model.__name__)
    for _ in range(200):
        value = documented(model, rng)
        before = copy.deepcopy(value)
        read = READERS[model](value)
        with only_the_converter():
            expected: Any = decode(value, model)
        assert read == expected
        assert (repr(read), type(read)) == (repr(expected), model)
        assert pickle.dumps(read) == pickle.dumps(expected)
        assert value == before


def test_odd_objects_are_read_as_by_the_converter(drifts: list[tuple[object, ...]]) -> None:
    """Of tens of thousands of odd objects, values, errors and drifts are the converter's."""
    rng = random.Random(20)
    results = {"error": 0, "drift": 0, "straight": 0}
    for model in [*READERS] * (OBJECTS // len(READERS)):
        value = spoil(documented(model, rng), rng)
        ours, theirs = both_results(partial(decode, value, model), drifts)
        assert ours == theirs, value
        results["error" if ours[0] == "error" else "drift" if ours[-1] else "straight"] += 1
    assert min(results.values()) > OBJECTS // 100, results  # none of them is rare


def test_odd_items_are_read_as_by_the_converter(drifts: list[tuple[object, ...]]) -> None:
    """Of a page with odd items, the items, errors and drifts are the converter's."""
    rng = random.Random(21)
    for _ in range(100):
        values = [spoil(documented(models.QualifiedNumber, rng), rng) for _ in range(50)]
        ours, theirs = both_results(partial(decode_items, values, models.QualifiedNumber), drifts)
        assert ours == theirs, values


def test_every_model_of_a_response_has_a_reader() -> None:
    """Only requests, and what only they hold, are left to the converter."""
    without = {
        name
        for name, model in vars(models).items()
        if attrs.has(model) and model not in READERS and not name.endswith("Request")
    }
    assert without == {"BlanketLoaInfo"}
