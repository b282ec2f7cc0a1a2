"""Laws of reading a Letter of Authorization."""

from __future__ import annotations

import json

import pytest

from sinch_qn.parsing import InvalidLoa, parse_loa
from tests.support.loa import DIRECT, DIRECT_JSON, RESELLER

PERSON = {"firstName": "Canary", "lastName": "Canary", "email": "canary@example.com"}
ADDRESS = dict.fromkeys(
    ["buildingNumber", "street", "city", "state", "postalCode", "country"], "Canary"
)
LOA = {"authorisedPerson": PERSON, "address": ADDRESS, "currentVoiceCarrier": "Canary"}


def test_both_kinds_are_read() -> None:
    """A LOA is read as text or bytes, by the name of its kind."""
    assert parse_loa(json.dumps({"directLoaInfo": DIRECT_JSON})) == DIRECT
    reseller = {"resellerLoaInfo": {"businessName": "Sinch AB", **DIRECT_JSON}}
    assert parse_loa(json.dumps(reseller).encode()) == RESELLER


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not JSON: "),
        ("[]", 'expected {"directLoaInfo": {…}}'),
        (json.dumps(LOA), 'expected {"directLoaInfo": {…}}'),
        (json.dumps({"directLoaInfo": LOA, "resellerLoaInfo": LOA}), "or {"),
        (json.dumps({"directLoaInfo": []}), "directLoaInfo: expected an object"),
        (
            json.dumps({"directLoaInfo": {**LOA, "authorisedPerson": {**PERSON, "email": 7}}}),
            "directLoaInfo.authorisedPerson.email: expected text",
        ),
        (
            json.dumps({"resellerLoaInfo": LOA}),
            "resellerLoaInfo: without businessName",
        ),
        (
            json.dumps({"directLoaInfo": {**LOA, "address": {**ADDRESS, "zip": "Canary"}}}),
            "directLoaInfo.address: there is no field zip",
        ),
    ],
)
def test_a_bad_loa_is_explained_and_not_shown(content: str, reason: str) -> None:
    """The message names the field; nothing personal is in it, nor in its cause."""
    with pytest.raises(InvalidLoa) as caught:
        parse_loa(content)
    assert reason in str(caught.value)
    assert "canary" not in str(caught.value).lower()
    assert caught.value.__cause__ is None
