"""What the OpenAPI description asks of a request: compiled once, then checked for each one."""

from __future__ import annotations

import functools
import re
from importlib import resources
from itertools import islice
from typing import TYPE_CHECKING, Any

import attrs
import orjson

try:
    import jsonschema_rs
except ImportError as error:
    raise ImportError("the sandbox needs an extra: pip install 'sinch-qn[sandbox]'") from error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_REPORTED = 20
"""How many violations of one request are told; the others are as good as fixed by then."""


@attrs.frozen
class Violation:
    """What in a request breaks the API's description."""

    operation: str
    """The `operationId`; for a path that is none of them, the method and path."""
    field: str
    """Such as `directLoaInfo.address.city` or `pageSize`; empty for the whole body."""
    description: str


class ViolationError(Exception):
    """A request that breaks the API's description."""

    def __init__(self, violations: list[Violation]) -> None:
        super().__init__(violations)
        self.violations = violations


@attrs.frozen(kw_only=True)
class ValidRequest:
    """A request that keeps the rules, its values in their own types."""

    phone_number: str = ""
    query: Mapping[str, Any]
    body: Any


@attrs.frozen(kw_only=True)
class RequestValidator:
    """The rules of one operation."""

    operation: str
    path: Mapping[str, jsonschema_rs.Validator]
    query: Mapping[str, jsonschema_rs.Validator]
    integers: frozenset[str]
    """The query parameters that are whole numbers."""
    required: frozenset[str]
    """The query parameters that must be there."""
    body: jsonschema_rs.Validator | None
    """None: there must be no body."""

    def validate(
        self, path: Mapping[str, str], query: list[tuple[str, str]], body: bytes
    ) -> ValidRequest:
        """Return the request's values, or raise `ViolationError` with all that is wrong."""
        values: dict[str, Any] = {}
        payload = None
        wrong = list(self._wrong_in_path(path))
        wrong += self._wrong_in_query(query, values)
        if self.body is None:
            if body.strip() not in {b"", b"{}"}:
                wrong.append(("", "must be empty"))
        else:
            try:
                payload = orjson.loads(body)
            except orjson.JSONDecodeError as error:
                wrong.append(("", f"is not JSON: {error}"))
            else:
                errors = islice(self.body.iter_errors(payload), _REPORTED)
                wrong += [(_field(error), error.message) for error in errors]
        if wrong:
            raise ViolationError([Violation(self.operation, *each) for each in wrong])
        return ValidRequest(phone_number=path.get("phoneNumber", ""), query=values, body=payload)

    def _wrong_in_path(self, path: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        for name, validator in self.path.items():
            for error in validator.iter_errors(path[name]):
                yield name, error.message

    def _wrong_in_query(
        self, query: list[tuple[str, str]], values: dict[str, Any]
    ) -> Iterator[tuple[str, str]]:
        for name, text in query:
            validator = self.query.get(name)
            if validator is None:
                yield name, "is not a parameter of this operation"
                continue
            if name in values:
                yield name, "is given more than once"
            whole = name in self.integers and re.fullmatch("-?[0-9]{1,18}", text)
            values[name] = int(text) if whole else text
            for error in validator.iter_errors(values[name]):
                yield name, error.message
        for name in sorted(self.required - values.keys()):
            yield name, "is required"


@functools.cache
def read_validators() -> Mapping[str, RequestValidator]:
    """Return the rules of every operation in the description that this package ships, by id."""
    text = resources.files(__package__).joinpath("openapi.json").read_bytes()
    spec = orjson.loads(text)
    return {
        operation["operationId"]: _validator(spec, operation, item.get("parameters", []))
        for item in spec["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    }


def _validator(spec: Any, operation: Any, shared: list[Any]) -> RequestValidator:
    parameters = [_resolve(spec, each) for each in [*shared, *operation.get("parameters", [])]]
    query = [each for each in parameters if each["in"] == "query"]
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    return RequestValidator(
        operation=operation["operationId"],
        path={
            each["name"]: _compile(spec, each["schema"])
            for each in parameters
            if each["in"] == "path"
        },
        query={each["name"]: _compile(spec, each["schema"]) for each in query},
        integers=frozenset(
            each["name"] for each in query if each["schema"].get("type") == "integer"
        ),
        required=frozenset(each["name"] for each in query if each.get("required")),
        body=_compile(spec, content["schema"]) if content else None,
    )


def _resolve(spec: Any, node: Any) -> Any:
    """Return *node*, or the component that it refers to."""
    if "$ref" not in node:
        return node
    return functools.reduce(lambda at, key: at[key], node["$ref"].split("/")[1:], spec)


def _compile(spec: Any, schema: Any) -> jsonschema_rs.Validator:
    # Masked, so that a message names the field and never shows a person's data.
    whole = {**schema, "components": spec["components"]}
    return jsonschema_rs.validator_for(whole, validate_formats=True, mask="value")


def _field(error: jsonschema_rs.ValidationError) -> str:
    """Return the path of what is wrong, such as `numbers[3]`."""
    field = "".join(
        f"[{key}]" if isinstance(key, int) else f".{key}" for key in error.instance_path
    )
    missing = getattr(error.kind, "property", None)
    return f"{field}.{missing}".lstrip(".") if missing else field.lstrip(".")
