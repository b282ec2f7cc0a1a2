"""The handwritten API description, compared with the API's published samples."""

from __future__ import annotations

import copy
import json
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jsonschema_rs
import pytest
import yaml

from sinch_qn import _codec, models

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "tests/fixtures/reference").glob("*.json"))
SPEC: dict[str, Any] = yaml.safe_load((ROOT / "openapi/qualified-numbers.yaml").read_text())
SCHEMAS: dict[str, Any] = SPEC["components"]["schemas"]

OPERATIONS = {
    "listQualifiedNumbers": ("get", "/qualifiedNumbers"),
    "getQualifiedNumber": ("get", "/qualifiedNumbers/{phoneNumber}"),
    "deleteQualifiedNumber": ("delete", "/qualifiedNumbers/{phoneNumber}"),
    "addQualifiedNumbers": ("post", "/qualifiedNumbers:addNumbers"),
    "textEnableNumbers": ("post", "/qualifiedNumbers:textEnableNumbers"),
    "textEnableTollFreeNumbers": ("post", "/qualifiedNumbers:textEnableTollFreeNumbers"),
    "sendVoiceChallenge": ("post", "/qualifiedNumbers/{phoneNumber}:sendVoiceChallenge"),
    "verifyVoiceChallenge": ("post", "/qualifiedNumbers/{phoneNumber}:verifyVoiceChallenge"),
}
"""The operations of the two reference texts."""

ORDER, IMPORTED = "/hostingOrders/{hostingOrderId}", "/importedNumbers/{phoneNumber}"
BEYOND = {
    "listHostingOrders": ("get", "/hostingOrders", {404, 500}),
    "getHostingOrder": ("get", ORDER, {404, 500}),
    "getHostingOrderReport": ("get", f"{ORDER}/report", {404, 500}),
    "listHostingOrderNumbers": ("get", f"{ORDER}/numbers", {404, 500}),
    "getHostingOrderNumber": ("get", f"{ORDER}/numbers/{{phoneNumber}}", {404, 500}),
    "createImportOrder": ("post", "/hostingOrders:importNumbers", {500}),
    "createTextEnableOrder": ("post", "/hostingOrders:textEnableNumbers", {400, 404, 409, 500}),
    "createTollFreeTextEnableOrder": (
        "post",
        "/hostingOrders:textEnableTollFreeNumbers",
        {400, 404, 409, 500},
    ),
    "listImportedNumbers": ("get", "/importedNumbers", {400, 500}),
    "importNumber": ("post", "/importedNumbers", {400, 409, 500}),
    "getImportedNumber": ("get", IMPORTED, {404, 500}),
    "updateImportedNumber": ("patch", IMPORTED, {400, 404, 500}),
    "deleteImportedNumber": ("delete", IMPORTED, {404, 500}),
    "getCallbackConfiguration": ("get", "/callbackConfiguration", {400, 404, 500}),
    "updateCallbackConfiguration": ("patch", "/callbackConfiguration", {400, 404, 500}),
}
"""The operations beyond them: method, path and documented errors."""


class Contradiction(NamedTuple):
    """A published sample that its own published schema does not allow."""

    sample: str
    pointer: str
    reason: str
    admitted: bool = True
    """Whether the description allows it, because the server may send or accept it."""


CONTRADICTIONS = [
    Contradiction(
        "textEnableTollFreeNumbers.TextEnableTollFreeNumbersRequest",
        "/directLoaInfo/scheduledZipwhipProvisioningTime",
        "nested in the LOA by the sample, beside it in the schema, which is right",
        admitted=False,
    ),
    Contradiction(
        "textEnableTollFreeNumbers.TextEnableTollFreeNumbersRequest",
        "/directLoaInfo/migrateToSinchTmo",
        "in no schema of this request, nor of an LOA; only the response has it",
        admitted=False,
    ),
    Contradiction(
        "textEnableNumbers.TextEnableNumbersRequest",
        "/migrateToSinchTmo",
        "in every sample of this request and in no schema of it",
    ),
    Contradiction(
        "textEnableTollFreeNumbers.HostingOrder",
        "/projectId",
        "has an n among its digits, so that it is no UUID: project ids have no format here",
    ),
    Contradiction(
        "textEnableTollFreeNumbers.HostingOrder",
        "/hostingOrderInfo",
        "the schema names it textEnableInfo",
    ),
    Contradiction(
        "textEnableTollFreeNumbers.HostingOrder",
        "/hostingOrderInfo/loaType",
        "the schema has Direct and Reseller, and types them as an integer",
    ),
    Contradiction(
        "addQualifiedNumbers.AddNumbersResponse",
        "/qualifiedNumbers/0/osrEligibility/status",
        "a string in one reference text, an integer in the other",
    ),
]


@cache
def validator(name: str, *, closed: bool = False) -> jsonschema_rs.Draft202012Validator:
    """Return a validator of the component *name*; *closed* rejects unknown fields."""
    components = copy.deepcopy(SPEC["components"])
    for _, node in walk(components["schemas"]) if closed else ():
        if "properties" in node:
            node["additionalProperties"] = False
    return jsonschema_rs.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": components}, validate_formats=True
    )


def walk(node: Any, pointer: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every object below *node*, itself included, with its JSON pointer."""
    if isinstance(node, dict):
        yield pointer, node
        for key, value in node.items():
            yield from walk(value, f"{pointer}/{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from walk(value, f"{pointer}/{index}")


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path and description of every operation."""
    for path, item in SPEC["paths"].items():
        for method in ("get", "put", "post", "delete", "patch", "head", "options"):
            if method in item:
                yield method, path, item[method]


def refused_fields(name: str, sample: Any) -> set[str]:
    """Return pointers to the fields of *sample* that the component *name* does not have."""
    refused = set()
    for error in validator(name, closed=True).iter_errors(sample):
        assert isinstance(error.kind, jsonschema_rs.ValidationErrorKind.AdditionalProperties), error
        parent = "".join(f"/{step}" for step in error.instance_path)
        refused |= {f"{parent}/{field}" for field in error.kind.unexpected}
    return refused


@pytest.mark.slow
def test_description_is_valid_openapi() -> None:
    """The description is valid OpenAPI 3.1."""
    from openapi_spec_validator import validate  # noqa: PLC0415 - takes seconds to load

    assert SPEC["openapi"].startswith("3.1.")
    validate(SPEC)


def test_description_is_plain_json() -> None:
    """The description has no YAML-only types: converted to JSON, it is equal."""
    assert json.loads(json.dumps(SPEC)) == SPEC


def test_operations_are_the_eight_of_the_reference_and_fifteen_beyond() -> None:
    """All eight operations of the reference are described, the fifteen beyond, and no other."""
    found = {op["operationId"]: (method, path) for method, path, op in operations()}
    beyond = {name: row[:2] for name, row in BEYOND.items()}
    assert len(BEYOND) == 15
    assert found == {
        name: (method, f"/v1/projects/{{projectId}}{path}")
        for name, (method, path) in {**OPERATIONS, **beyond}.items()
    }


def test_operations_beyond_the_reference_name_their_source() -> None:
    """Exactly the operations that no reference text has say where they are published."""
    sources = {
        operation["operationId"]: operation["externalDocs"]["url"]
        for _, _, operation in operations()
        if "externalDocs" in operation
    }
    assert set(sources) == set(BEYOND)
    assert all(url.startswith("https://developers.sinch.com/") for url in sources.values())


def test_what_starts_something_is_not_idempotent() -> None:
    """A POST may call a phone or place an order, and an update may link a number."""
    for method, path, operation in operations():
        starts = method == "post" or operation["operationId"] == "updateImportedNumber"
        assert operation["x-idempotent"] is not starts, path


def test_every_operation_describes_its_errors() -> None:
    """Every operation documents the published errors, and a default.

    Of the eight, all have 404 and 500, the toll-free one 400 and 409 too.
    """
    for _, _, operation in operations():
        name = operation["operationId"]
        codes = BEYOND[name][2] if name in BEYOND else {404, 500}
        codes = codes | {400, 409} if name == "textEnableTollFreeNumbers" else codes
        expected = {"200", "default", *map(str, codes)}
        assert set(operation["responses"]) == expected, operation["operationId"]


def test_errors_of_the_callback_configuration_are_wrapped() -> None:
    """The errors of the callback configuration are wrapped; all others may have either form."""
    responses = SPEC["components"]["responses"]
    for _, _, operation in operations():
        wrapped = operation["operationId"].endswith("CallbackConfiguration")
        for code in BEYOND.get(operation["operationId"], (0, 0, ()))[2]:
            name = operation["responses"][str(code)]["$ref"].rpartition("/")[2]
            schema = responses[name]["content"]["application/json"]["schema"]["$ref"]
            assert schema.endswith("WrappedError" if wrapped else "ErrorResponse"), name


def test_server_and_security_are_the_documented_ones() -> None:
    """Calls go to the one global endpoint, with Basic or with OAuth2 client credentials."""
    assert [server["url"] for server in SPEC["servers"]] == [
        "https://imported.numbers.api.sinch.com"
    ]
    schemes = SPEC["components"]["securitySchemes"]
    flow = schemes["OAuth2.0"]["flows"]["clientCredentials"]
    assert flow["tokenUrl"] == "https://auth.sinch.com/oauth2/token"
    assert schemes["Basic"] == {
        "type": "http",
        "scheme": "basic",
        "description": schemes["Basic"]["description"],
    }
    assert SPEC["security"] == [{"Basic": []}, {"OAuth2.0": []}]


def test_enums_and_unions_are_named_components() -> None:
    """Every enum and union is a component, or its class would get a made-up name."""
    for pointer, node in walk(SPEC):
        if {"enum", "oneOf", "anyOf"} & set(node) and node.get("x-codegen") != "ignore":
            assert pointer.rpartition("/")[0] == "/components/schemas", pointer


def test_listing_knows_all_documented_states() -> None:
    """A listing accepts the ten documented states and the eleventh of later texts."""
    states = SCHEMAS["GlobalProcessState"]
    assert states["enum"] == [f"GLOBAL_PROCESS_STATE_{name}" for name in states["x-enum-varnames"]]
    assert states["x-enum-varnames"] == [
        "UNSPECIFIED",
        "ELIGIBLE_CHECK_PENDING",
        "ELIGIBLE",
        "NOT_ELIGIBLE",
        "VERIFICATION_PENDING",
        "VERIFICATION_FAILED",
        "VERIFICATION_BLOCKED",
        "VERIFIED",
        "HOSTING_IN_PROGRESS",
        "HOSTING_DONE",
        "HOSTING_FAILED",
    ]


def test_personal_fields_are_marked_sensitive() -> None:
    """Every field of a person or an address is sensitive, and every field that contains one."""
    holders = {"#/components/schemas/AuthorizedPerson", "#/components/schemas/Address"}
    for name, schema in SCHEMAS.items():
        for field, node in schema.get("properties", {}).items():
            if name in {"AuthorizedPerson", "Address"} or node.get("$ref") in holders:
                assert node.get("x-sensitive") is True, f"{name}.{field}"
    assert SCHEMAS["VerifyVoiceChallengeRequest"]["properties"]["code"]["x-sensitive"] is True
    for name in ("CallbackConfiguration", "UpdateCallbackConfigurationRequest"):
        assert SCHEMAS[name]["properties"]["hmacSecret"]["x-sensitive"] is True


def test_descriptions_own_examples_follow_their_schemas() -> None:
    """Every example next to a schema is valid under it and has no unknown field."""
    examples = [
        (node["schema"]["$ref"].rpartition("/")[2], node["example"], pointer)
        for pointer, node in walk(SPEC)
        if "example" in node and "$ref" in node.get("schema", {})
    ]
    assert len(examples) >= 8
    for name, example, pointer in examples:
        validator(name).validate(example)
        assert not refused_fields(name, example), pointer


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_sample_follows_its_schema(path: Path) -> None:
    """A published sample is valid and has only the unknown fields that the table lists."""
    name, sample = path.stem.partition(".")[2], json.loads(path.read_text())
    validator(name).validate(sample)
    assert refused_fields(name, sample) == {
        row.pointer for row in CONTRADICTIONS if row.sample == path.stem and not row.admitted
    }


@pytest.mark.parametrize("row", CONTRADICTIONS, ids=lambda row: row.pointer)
def test_contradiction_is_still_there(row: Contradiction) -> None:
    """The table of contradictions lists only fields that its samples have."""
    value = json.loads((ROOT / f"tests/fixtures/reference/{row.sample}.json").read_text())
    for step in row.pointer.split("/")[1:]:
        value = value[int(step)] if isinstance(value, list) else value[step]
    assert value is not None


def model_samples() -> list[Path]:
    """Return the samples that are objects of a model; an error is not."""
    return [path for path in SAMPLES if hasattr(models, path.stem.partition(".")[2])]


@pytest.mark.parametrize("path", model_samples(), ids=lambda path: path.stem)
def test_sample_is_read_and_written_back_the_same(path: Path) -> None:
    """Reading a published sample and writing it again loses only unknown fields."""
    model = getattr(models, path.stem.partition(".")[2])
    sample = json.loads(path.read_text())
    written = _codec.encode(_codec.decode(sample, model))
    for row in CONTRADICTIONS:
        if row.sample == path.stem and not row.admitted:
            *parents, field = row.pointer.split("/")[1:]
            holder = sample
            for step in parents:
                holder = holder[step]
            del holder[field]
    assert written == sample


def test_only_errors_have_no_model() -> None:
    """All samples but that of an error take part in the round trip."""
    assert [p.stem for p in SAMPLES if p not in model_samples()] == ["deleteQualifiedNumber.Error"]


def test_loa_of_an_order_is_read_under_either_name_and_written_under_one() -> None:
    """The LOA of an order is one field under either of its names."""
    for name in ("hostingOrderInfo", "textEnableInfo"):
        order = _codec.decode({name: {"loaType": "Direct"}}, models.HostingOrder)
        assert order.hosting_order_info == models.TextEnableInfo(loa_type=models.LoaType.DIRECT)
        assert _codec.encode(order) == {"hostingOrderInfo": {"loaType": "DIRECT"}}


@pytest.mark.parametrize("status", ["DONE", "SOMETHING_NEW", 0, 7])
def test_status_is_kept_as_it_came(status: str | int) -> None:
    """A string or integer status is read and written unchanged."""
    details = _codec.decode({"status": status}, models.OsrEligibilityDetails)
    expected = models.OperationStatus if isinstance(status, str) else int
    assert type(details.status) is expected
    assert details.status == status
    assert _codec.encode(details) == {"status": status}


def test_every_operation_has_its_samples() -> None:
    """The repository has the reference's sample for each of its operations."""
    assert {path.stem.partition(".")[0] for path in SAMPLES} == set(OPERATIONS)


def request(name: str, **fields: Any) -> dict[str, Any]:
    """Return the published sample of a text enablement request, with other fields."""
    operation = f"{name[0].lower()}{name[1:]}".removesuffix("Request")
    path = ROOT / f"tests/fixtures/reference/{operation}.{name}.json"
    return {**json.loads(path.read_text()), **fields}


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("TextEnableNumbersRequest", ("directLoaInfo", "resellerLoaInfo", "blanketLoaInfo")),
        ("TextEnableTollFreeNumbersRequest", ("directLoaInfo", "resellerLoaInfo")),
    ],
)
def test_request_carries_exactly_one_loa(name: str, kinds: tuple[str, ...]) -> None:
    """A text enablement request carries one kind of LOA: not none, not two, not all."""
    body = request(name)
    direct = body.pop("directLoaInfo")
    loa = {
        "directLoaInfo": direct,
        "resellerLoaInfo": {**direct, "businessName": "Sinch AB"},
        "blanketLoaInfo": {},
    }
    for count in range(len(kinds) + 1):
        for chosen in combinations(kinds, count):
            candidate = body | {kind: loa[kind] for kind in chosen}
            assert validator(name).is_valid(candidate) is (count == 1), chosen


def test_blanket_loa_is_empty() -> None:
    """A blanket LOA is sent as an empty object."""
    assert validator("BlanketLoaInfo").is_valid({})
    assert not validator("BlanketLoaInfo").is_valid({"businessName": "Sinch AB"})


@pytest.mark.parametrize(
    ("name", "field", "count", "valid"),
    [
        ("TextEnableNumbersRequest", "numbers", 0, False),
        ("TextEnableNumbersRequest", "numbers", 500, True),
        ("TextEnableNumbersRequest", "numbers", 501, False),
        ("TextEnableTollFreeNumbersRequest", "numbers", 0, False),
        ("TextEnableTollFreeNumbersRequest", "numbers", 501, True),
        ("AddNumbersRequest", "phoneNumbers", 0, False),
        ("AddNumbersRequest", "phoneNumbers", 501, True),
    ],
)
def test_only_documented_limits_hold(name: str, field: str, count: int, *, valid: bool) -> None:
    """Only textEnableNumbers has a documented maximum of 500; all need at least one number."""
    numbers = [f"+1202555{index:04}" for index in range(count)]
    body = {} if name == "AddNumbersRequest" else request(name)
    assert validator(name).is_valid(body | {field: numbers}) is valid


@pytest.mark.parametrize("number", ["12025550134", "+0202555013", "+1202555 134", "", "+1\n", "+"])
@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("AddNumbersRequest", "phoneNumbers"),
        ("TextEnableNumbersRequest", "numbers"),
        ("TextEnableTollFreeNumbersRequest", "numbers"),
    ],
)
def test_sent_numbers_are_e164(name: str, field: str, number: str) -> None:
    """A number that is sent is E.164 with its leading plus."""
    body = {} if name == "AddNumbersRequest" else request(name)
    assert not validator(name).is_valid(body | {field: [number]})


@pytest.mark.parametrize("name", ["TextEnableNumbersRequest", "TextEnableTollFreeNumbersRequest"])
def test_sent_region_is_us_or_canada(name: str) -> None:
    """Text enablement is for the United States and Canada only."""
    assert validator(name).is_valid(request(name, regionCode="CA"))
    for region in ("GB", "us", "USA", ""):
        assert not validator(name).is_valid(request(name, regionCode=region)), region


@pytest.mark.parametrize(
    ("name", "field", "values"),
    [
        ("OsrEligibilityDetails", "status", ["DONE", "STATE_UNSPECIFIED", 0, 3]),
        ("OwnershipVerificationDetails", "status", ["WAITING", 0, 3]),
        ("HostedNumberDetails", "status", [0, 1, 2]),
        ("TextEnableInfo", "loaType", ["DIRECT", "RESELLER", "Direct", "Reseller", 0, 1]),
    ],
)
def test_both_forms_of_a_disputed_field_are_admitted(
    name: str, field: str, values: list[str | int]
) -> None:
    """If the texts disagree about a field's type, either is valid and no other."""
    for value in values:
        assert validator(name).is_valid({field: value}), value
    refused: list[object] = ["SOMETHING", 1.5, True, None, [], {}]
    for wrong in refused:
        assert not validator(name).is_valid({field: wrong}), wrong


def test_hosting_order_has_its_loa_under_either_name() -> None:
    """The LOA of a hosting order is checked under both of its names."""
    for name in ("hostingOrderInfo", "textEnableInfo"):
        assert validator("HostingOrder").is_valid({name: {"nnid": "104029"}})
        assert not validator("HostingOrder").is_valid({name: {"nnid": 104029}})


def test_both_forms_of_an_error_are_admitted() -> None:
    """An error is flat with a string code, or wrapped with an integer code."""
    flat = {"code": "404", "message": "gone", "status": "NOT_FOUND"}
    assert validator("ErrorResponse").is_valid(flat)
    assert validator("WrappedError").is_valid({"error": flat | {"code": 404}})
    assert not validator("Error").is_valid(flat | {"code": 404})
    assert not validator("WrappedError").is_valid({"error": flat})


def test_callback_is_described() -> None:
    """The callback's body and its signature header are described."""
    callback = SPEC["webhooks"]["numberEvent"]["post"]
    assert [header["name"] for header in callback["parameters"]] == ["X-Sinch-Signature"]
    body = callback["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/CallbackEvent"}
