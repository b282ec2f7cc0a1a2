"""Validation of requests against the OpenAPI description, which is compiled once."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from itertools import islice
from typing import Any

import attrs
import orjson

try:
    import jsonschema_rs
except ImportError as error:
    raise ImportError("the sandbox needs an extra: pip install 'sinch-qn[sandbox]'") from error

_MAX_REPORTED = 20
"""Violations in a body that are reported; the rest are not searched for."""


@attrs.frozen
class Violation:
    """One violation of the API description in a request."""

    operation: str
    """The `operationId`; for an unknown path, the method and path."""
    field: str
    """For example `directLoaInfo.address.city` or `pageSize`; empty for the whole body."""
    description: str


class ViolationError(Exception):
    """A request violates the API description."""

    def __init__(self, violations: list[Violation]) -> None:
        super().__init__(violations)
        self.violations = violations


@attrs.frozen(kw_only=True)
class ValidRequest:
    """The values of a valid request; query parameters have their own types."""

    operation: str
    phone_number: str = ""
    order_id: str = ""
    query: Mapping[str, Any]
    body: Any


@attrs.frozen(kw_only=True)
class RequestValidator:
    """Validates the requests of one operation."""

    operation: str
    path: Mapping[str, jsonschema_rs.Validator]
    query: Mapping[str, jsonschema_rs.Validator]
    integers: frozenset[str]
    """Query parameters of type integer."""
    required: frozenset[str]
    """Required query parameters."""
    body: jsonschema_rs.Validator | None
    """None: the body must be empty."""
    wraps_errors: bool
    """Whether the operation's errors are wrapped in `error`."""

    def validate(
        self, path: Mapping[str, str], query: list[tuple[str, str]], body: bytes
    ) -> ValidRequest:
        """Return the request's values, or raise `ViolationError` with all violations."""
        values: dict[str, Any] = {}
        payload = None
        violations = list(self._violations_in_path(path))
        violations += self._violations_in_query(query, values)
        if self.body is None:
            if body.strip() not in {b"", b"{}"}:
                violations.append(("", "must be empty"))
        else:
            try:
                payload = orjson.loads(body)
            except orjson.JSONDecodeError as error:
                violations.append(("", f"is not JSON: {error}"))
            else:
                errors = islice(self.body.iter_errors(payload), _MAX_REPORTED)
                violations += [(_field(error), error.message) for error in errors]
        if violations:
            raise ViolationError([Violation(self.operation, *each) for each in violations])
        return ValidRequest(
            operation=self.operation,
            phone_number=path.get("phoneNumber", ""),
            order_id=path.get("hostingOrderId", ""),
            query=values,
            body=payload,
        )

    def _violations_in_path(self, path: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        for name, validator in self.path.items():
            for error in validator.iter_errors(path[name]):
                yield name, error.message

    def _violations_in_query(
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
    """Return the validator of each operation in the shipped description, by `operationId`."""
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
        wraps_errors="/Wrapped" in operation["responses"]["500"]["$ref"],
    )


def _resolve(spec: Any, node: Any) -> Any:
    """Return *node*, or the component it refers to."""
    if "$ref" not in node:
        return node
    return functools.reduce(lambda at, key: at[key], node["$ref"].split("/")[1:], spec)


def _compile(spec: Any, schema: Any) -> jsonschema_rs.Validator:
    # Masked: a message names the field and never shows personal data.
    whole = {**schema, "components": spec["components"]}
    return jsonschema_rs.validator_for(whole, validate_formats=True, mask="value")


def _field(error: jsonschema_rs.ValidationError) -> str:
    """Return the path of the invalid value, such as `numbers[3]`."""
    field = "".join(
        f"[{key}]" if isinstance(key, int) else f".{key}" for key in error.instance_path
    )
    missing = getattr(error.kind, "property", None)
    return f"{field}.{missing}".lstrip(".") if missing else field.lstrip(".")
