"""The desk's HTTP API against its description, openapi/desk.yaml."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, settings
from openapi_spec_validator import validate
from schemathesis.checks import CHECKS

from sinch_qn.bulk import MemoryJournal
from sinch_qn.bulk.states import ChallengeState
from sinch_qn.desk import create_app
from sinch_qn.desk.api import REQUESTS, WRONG_TOKENS
from sinch_qn.desk.person import LIMITS
from tests.support.desk_world import NUMBERS, SECRET, InThread, desk_in_thread

SPEC = yaml.safe_load((Path(__file__).parents[2] / "openapi/desk.yaml").read_text("utf-8"))
schema = schemathesis.openapi.from_dict(SPEC)
LEFT_OUT: Any = CHECKS.get_by_names(["positive_data_acceptance"])  # a schema knows no states


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[InThread, str]]:
    """Run a desk without limits in a thread; yield it and a token."""
    with desk_in_thread() as thread:
        app, limits = thread.world.app, thread.world.app[LIMITS]
        for attempts in (
            limits.calls,
            limits.codes,
            limits.all_codes,
            app[REQUESTS],
            app[WRONG_TOKENS],
        ):
            attempts.limit = 10**6
        yield thread, thread.do(thread.world.desk.tokens.make("fuzz"))


def test_the_file_is_valid_openapi() -> None:
    """The description is OpenAPI 3.1 as its specification has it."""
    validate(SPEC)


def test_routes_and_description_agree() -> None:
    """Each route of the API is described, and each description has its route."""
    app = create_app(None, MemoryJournal(), secret=SECRET, public_url="http://desk.example")
    routes = {
        (route.method.lower(), resource.canonical)
        for resource in app.router.resources()
        for route in resource
        if resource.canonical.startswith("/api")
    }
    assert routes == {(method, path) for path, item in SPEC["paths"].items() for method in item}


def test_the_states_are_those_of_runs() -> None:
    """No state is missing in the description."""
    states = SPEC["components"]["schemas"]["Number"]["properties"]["state"]["enum"]
    assert set(states) == {state.value for state in ChallengeState}


def fuzz(operation_id: str) -> Callable[..., None]:
    """Return the test of one operation: schemathesis gives all tests of a function one id."""

    @settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    def keeps_to_its_description(
        case: schemathesis.Case[Any], served: tuple[InThread, str]
    ) -> None:
        """Any request, valid or not, gets a response that is in the description, and no defect."""
        thread, token = served
        is_valid = case.meta is not None and case.meta.generation.mode.is_positive
        body: Any = case.body
        if is_valid and "number" in body:  # otherwise nearly all are unknown
            body["number"] = NUMBERS[crc32(body["number"].encode()) % len(NUMBERS)]
        case.call_and_validate(
            base_url=thread.world.base,
            headers={"Authorization": f"Bearer {token}"},
            excluded_checks=LEFT_OUT,
            timeout=10,
        )

    parametrize: Callable[..., Any] = schema.include(operation_id=operation_id).parametrize()
    test: Callable[..., None] = parametrize(keeps_to_its_description)
    return test


for each in ("submitCode", "requestCall", "lookUpNumbers"):
    globals()[f"test_{each}_keeps_to_its_description"] = fuzz(each)
