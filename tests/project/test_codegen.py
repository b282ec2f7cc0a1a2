"""The generated files are up to date, reproducible, and match the API description."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import yaml

from codegen.__main__ import MODELS, READERS, SANDBOX_SPEC, SPEC, generate, main
from codegen.licences import PAGE, licence_of
from sinch_qn import models
from sinch_qn._open_enums import OpenIntEnum, OpenStrEnum

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
GENERATED = (MODELS, READERS, SANDBOX_SPEC, PAGE)
SCHEMAS: dict[str, dict[str, Any]] = {
    name: schema
    for name, schema in yaml.safe_load((ROOT / SPEC).read_text())["components"]["schemas"].items()
    if schema.get("x-codegen") != "ignore"
}
OBJECTS = [name for name, schema in SCHEMAS.items() if schema.get("type") == "object"]
ENUMS = [name for name, schema in SCHEMAS.items() if "enum" in schema]
LOA_KINDS = {"direct_loa_info", "reseller_loa_info", "blanket_loa_info"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Copy the input and output of the generation."""
    sources = (path.relative_to(ROOT) for path in (ROOT / "sinch_qn").rglob("*.py"))
    for path in (SPEC, *GENERATED, *sources, Path("pyproject.toml")):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    shutil.copytree(ROOT / "codegen/templates", tmp_path / "codegen/templates")
    return tmp_path


@pytest.fixture(scope="module")
def generated() -> dict[Path, bytes]:
    """Generate once: it takes seconds."""
    return generate(ROOT)


@pytest.fixture
def checked(generated: dict[Path, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `main` compare files with the generated ones."""
    monkeypatch.setattr("codegen.__main__.generate", lambda _: generated)
    monkeypatch.setattr("codegen.__main__.transcript_pages", lambda _: {})


def wire_fields(name: str) -> Mapping[str, attrs.Attribute[Any]]:
    """Return the fields of the model *name* by wire name."""
    return {field.metadata["wire"]: field for field in attrs.fields(getattr(models, name))}


def wire_properties(name: str) -> dict[str, dict[str, Any]]:
    """Return the described properties of *name* that have a Python field."""
    properties = SCHEMAS[name]["properties"].items()
    return {field: node for field, node in properties if node.get("x-codegen") != "ignore"}


def test_generated_files_are_up_to_date(checked: None) -> None:
    """The files are byte for byte what the description generates."""
    assert main(["--check"]) == 0


@pytest.mark.parametrize("path", GENERATED, ids=str)
def test_check_finds_one_changed_byte(
    path: Path, checkout: Path, checked: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A check fails on one changed byte, names the file, and does not change it."""
    assert main(["--check"], root=checkout) == 0
    drifted = bytearray((checkout / path).read_bytes())
    drifted[len(drifted) // 2] ^= 1
    (checkout / path).write_bytes(drifted)

    assert main(["--check"], root=checkout) == 1

    complaint = capsys.readouterr().err
    assert [str(each) in complaint for each in GENERATED] == [each == path for each in GENERATED]
    assert (checkout / path).read_bytes() == drifted


def test_check_finds_a_missing_file(checkout: Path, checked: None) -> None:
    """A check fails on a missing file."""
    (checkout / MODELS).unlink()
    assert main(["--check"], root=checkout) == 1
    assert not (checkout / MODELS).exists()


def test_check_finds_a_changed_description(checkout: Path) -> None:
    """A check fails on a described field that was not generated."""
    description = (checkout / SPEC).read_text()
    (checkout / SPEC).write_text(description.replace("campaignId:", "campaignKey:"))
    assert main(["--check"], root=checkout) == 1


def test_generation_restores_and_reproduces(checkout: Path, generated: dict[Path, bytes]) -> None:
    """Generation gives the same bytes in any directory and state."""
    for path in GENERATED:
        (checkout / path).write_bytes(b"")
    assert main([], root=checkout) == 0
    for path in GENERATED:
        assert (checkout / path).read_bytes() == (ROOT / path).read_bytes()
    assert generate(checkout) == generated


def test_sandbox_has_the_whole_description() -> None:
    """The sandbox's copy equals the YAML, which is not installed with it."""
    described = yaml.safe_load((ROOT / SPEC).read_text())
    assert json.loads((ROOT / SANDBOX_SPEC).read_text()) == described


@pytest.mark.parametrize("name", OBJECTS)
def test_model_has_the_described_fields(name: str) -> None:
    """A model has the described fields with snake_case names, required as described."""
    fields, required = wire_fields(name), SCHEMAS[name].get("required", [])
    assert set(fields) == set(wire_properties(name))
    for wire, field in fields.items():
        assert field.name.replace("_", "") == wire.lower()
        assert (field.default is attrs.NOTHING) is (wire in required), field.name
        assert field.default in {attrs.NOTHING, None}
        assert field.kw_only


@pytest.mark.parametrize("name", OBJECTS)
def test_model_is_frozen_and_slotted(name: str) -> None:
    """A model cannot be changed or given other attributes."""
    model: type[Any] = getattr(models, name)
    instance = model(**{a.name: None for a in attrs.fields(model) if a.default is attrs.NOTHING})
    assert not hasattr(instance, "__dict__")
    for attribute in [field.name for field in attrs.fields(model)] + ["new"]:
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(instance, attribute, None)


@pytest.mark.parametrize("name", OBJECTS)
def test_repr_shows_nothing_sensitive(name: str) -> None:
    """A field described as sensitive is not in the repr; all others are."""
    for wire, node in wire_properties(name).items():
        assert wire_fields(name)[wire].repr is not node.get("x-sensitive", False), wire


def test_loa_repr_holds_no_personal_data() -> None:
    """The repr of a whole request has no name, address or business."""
    canary = "canary"
    person = models.AuthorizedPerson(first_name=canary, last_name=canary, email=canary)
    address = models.Address(
        building_number=canary,
        street=canary,
        city=canary,
        state=canary,
        postal_code=canary,
        country=canary,
    )
    loa = models.ResellerLoaInfo(
        business_name=canary,
        authorised_person=person,
        address=address,
        current_voice_carrier=canary,
    )
    request = models.TextEnableNumbersRequest(
        region_code="US",
        numbers=["+12025550134"],
        service_plan_id="plan",
        reseller_loa_info=loa,
    )
    order = models.HostingOrder(
        hosting_order_info=models.TextEnableInfo(
            business_name=canary, authorised_person=person, address=address
        )
    )
    for value in (person, address, loa, request, order):
        assert canary not in repr(value)
    assert "+12025550134" in repr(request)


@pytest.mark.parametrize("name", ENUMS)
def test_enum_has_the_described_members(name: str) -> None:
    """An enum is open and has the described values, with names without prefix."""
    enum, schema = getattr(models, name), SCHEMAS[name]
    assert issubclass(enum, OpenStrEnum if schema["type"] == "string" else OpenIntEnum)
    names = schema.get("x-enum-varnames", schema["enum"])
    assert {member.name: member.value for member in enum} == dict(
        zip(names, schema["enum"], strict=True)
    )


def test_every_public_class_is_described() -> None:
    """The models are one class per described object and enum, and no others."""
    classes = {
        name
        for name, value in vars(models).items()
        if isinstance(value, type) and value.__module__ == models.__name__
    }
    assert classes == {*OBJECTS, *ENUMS}


def test_text_enablement_takes_any_one_loa() -> None:
    """Each request is one class with optional fields for each kind of LOA."""
    text, toll_free = (
        {field.name: field.default for field in attrs.fields(model)}
        for model in (models.TextEnableNumbersRequest, models.TextEnableTollFreeNumbersRequest)
    )
    assert {name: text[name] for name in LOA_KINDS} == dict.fromkeys(LOA_KINDS)
    assert "blanket_loa_info" not in toll_free
    assert toll_free["direct_loa_info"] is toll_free["reseller_loa_info"] is None


def test_ambiguous_names_and_types_are_marked() -> None:
    """The LOA of an order has a second wire name; an ambiguous status is an enum or an integer."""
    metadata = attrs.fields(models.HostingOrder).hosting_order_info.metadata
    assert metadata == {"wire": "hostingOrderInfo", "wire_aliases": ("textEnableInfo",)}
    assert models.OperationStatusValue == models.OperationStatus | int
    assert models.LoaTypeValue == models.LoaType | int


def test_the_licences_are_those_of_what_is_installed(generated: dict[Path, bytes]) -> None:
    """Each dependency of the distribution and of its extras is named, psycopg's LGPL with it."""
    page = generated[PAGE].decode()
    assert "| aiohttp | Apache-2.0 AND MIT | always |" in page
    assert "| psycopg | LGPL-3.0-only | `[distributed]` |" in page
    assert "| multidict |" in page  # aiohttp's
    assert "pytest" not in page


def test_a_package_without_a_licence_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is listed without a licence, or with one that nobody has read."""
    about = SimpleNamespace(json={"classifier": ["License :: Other/Proprietary License"]})
    monkeypatch.setattr("codegen.licences.metadata.metadata", lambda _: about)
    with pytest.raises(SystemExit, match="cattrs states no licence"):
        licence_of("cattrs")
