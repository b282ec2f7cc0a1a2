"""Unknown values and fields: reported once, counted, never an error."""

from __future__ import annotations

import logging
import tracemalloc
from collections import Counter
from typing import Any

import pytest

from sinch_qn import drift
from sinch_qn._codec import decode
from sinch_qn.drift import Drift
from sinch_qn.models import (
    HostedNumberDetails,
    HostingOrder,
    HostingStatus,
    OsrEligibilityDetails,
    QualifiedNumber,
)
from sinch_qn.webhooks import parse

STATE = "GLOBAL_PROCESS_STATE_PAUSED"


@pytest.fixture(autouse=True)
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each test with the state of a new process."""
    monkeypatch.setattr(drift, "_counts", Counter())
    monkeypatch.setattr(drift, "_watchers", [])


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the logged lines."""
    return [record.getMessage() for record in caplog.records if record.name == "sinch_qn"]


@pytest.mark.parametrize(
    ("model", "body", "seen"),
    [
        (
            QualifiedNumber,
            {"globalProcessState": STATE},
            Drift("value", "GlobalProcessState", STATE),
        ),
        (OsrEligibilityDetails, {"status": "GONE"}, Drift("value", "OperationStatus", "GONE")),
        (HostedNumberDetails, {"status": 17}, Drift("value", "HostingStatus", "17")),
        (HostedNumberDetails, {"status": "MOVED"}, Drift("value", "HostingStatus", "MOVED")),
        (QualifiedNumber, {"carrier": "x"}, Drift("field", "QualifiedNumber", "carrier")),
        (
            QualifiedNumber,
            {"osrEligibility": {"reason": None}},
            Drift("field", "OsrEligibilityDetails", "reason"),
        ),
    ],
)
def test_the_unknown_is_logged_once_and_counted(
    model: type[Any], body: dict[str, Any], seen: Drift, caplog: pytest.LogCaptureFixture
) -> None:
    """However often it occurs, an unknown value or field is one log line, one call and a count."""
    told: list[Drift] = []
    drift.watch(told.append)
    for _ in range(3):
        decode(body, model)
    assert drift.counts() == {seen: 3}
    assert told == [seen]
    assert lines(caplog) == [f"the API has an unknown {seen.kind}: {seen.where} {seen.name}"]


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (QualifiedNumber, {"globalProcessState": "GLOBAL_PROCESS_STATE_VERIFIED"}),
        (QualifiedNumber, {"globalProcessState": "global_process_state_verified"}),
        (OsrEligibilityDetails, {"status": 3}),
        (OsrEligibilityDetails, {"status": None, "error": "x"}),
        (HostedNumberDetails, {"status": "HOSTING_STATUS_HOSTED"}),
        (HostedNumberDetails, {"status": "1"}),
        (HostingOrder, {"textEnableInfo": {"nnid": "1", "loaType": "Direct"}}),
        (HostingOrder, {"hostingOrderInfo": {"loaType": 2}}),
    ],
)
def test_what_is_documented_is_no_drift(model: type[Any], body: dict[str, Any]) -> None:
    """Documented values are known in either case, name and type."""
    decode(body, model)
    assert drift.counts() == {}


def test_callbacks_are_watched_too() -> None:
    """An unknown kind of event is reported when the callback is parsed."""
    parse(b'{"eventId": "1", "eventType": "PORTED_OUT", "carrier": "x"}', {}, None)
    assert set(drift.counts()) == {
        Drift("value", "CallbackEventType", "PORTED_OUT"),
        Drift("field", "CallbackEvent", "carrier"),
    }


@pytest.mark.parametrize(
    "text", ["+12025550134", "2025550134", "a\nforged line", "Jane Doe", "", "x" * 65, "\u2028é"]
)
def test_only_names_are_shown(text: str, caplog: pytest.LogCaptureFixture) -> None:
    """Only names and small numbers are shown: anything else may be personal data, or forged."""
    decode({text: 1, "globalProcessState": text or "?"}, QualifiedNumber)
    decode({"status": 12025550134}, HostedNumberDetails)
    shown = f"{drift.counts()} {caplog.text}"
    assert not text or text not in shown
    assert "12025550134" not in shown
    assert {each.name for each in drift.counts()} == {"?"}


def test_a_server_cannot_fill_the_memory(caplog: pytest.LogCaptureFixture) -> None:
    """A hundred distinct drifts are counted separately; all others as one, with one log line."""
    caplog.set_level(logging.CRITICAL, logger="sinch_qn")
    tracemalloc.start()
    try:
        for index in range(5_000):
            decode({f"field{index}": 1, "globalProcessState": f"S{index}"}, QualifiedNumber)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(drift.counts()) == 101
    assert drift.counts()[drift.OVERFLOW] == 10_000 - 100
    assert held < 500_000
    assert not lines(caplog)
    decode({f"wide{index}": 1 for index in range(100_000)}, QualifiedNumber)
    assert sum(drift.counts().values()) == 10_010, "of one object ten fields are looked at"


def test_a_broken_watcher_costs_no_response(caplog: pytest.LogCaptureFixture) -> None:
    """A watcher's exception is logged; the response is read, and the next watcher called."""

    def broken(_: Drift) -> None:
        raise RuntimeError("the watcher's own")

    told: list[Drift] = []
    drift.watch(broken)
    drift.watch(told.append)
    number = decode({"globalProcessState": STATE}, QualifiedNumber)
    assert str(number.global_process_state) == STATE
    assert len(told) == 1
    assert "a drift watcher failed" in caplog.text


def test_watching_can_end() -> None:
    """A removed watcher is not called again, and can be removed twice."""
    told: list[Drift] = []
    stop = drift.watch(told.append)
    stop()
    stop()
    decode({"globalProcessState": STATE}, QualifiedNumber)
    assert told == []


def test_a_users_own_values_are_no_drift() -> None:
    """Only responses are watched: creating an enum member is not drift."""
    assert not HostingStatus(99).is_known
    assert drift.counts() == {}
