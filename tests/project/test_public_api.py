"""The public names and signatures; a change here is a change for users."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import attrs
import pytest

import sinch_qn
from sinch_qn import (
    BasicAuth,
    ClientOptions,
    OAuth2,
    Page,
    QualifiedNumbersClient,
    RateLimit,
    RetryPolicy,
    bulk,
    errors,
    models,
    parsing,
)
from sinch_qn.bulk import journal, report
from sinch_qn.cli import jobs

ROOT = Path(__file__).parents[2]

ALL: tuple[str, ...] = vars(sinch_qn)["__all__"]

DESIGNED = {
    *("QualifiedNumbersClient", "BasicAuth", "OAuth2", "RateLimit", "RetryPolicy", "Page"),
    *("PreparedCall",),
    *("errors", "models", "SinchError", "Outcome"),
    *("QualifiedNumber", "OsrEligibilityDetails", "OwnershipVerificationDetails"),
    *("HostedNumberDetails", "GlobalProcessState", "AuthorizedPerson", "Address"),
    *("DirectLoaInfo", "ResellerLoaInfo", "BlanketLoaInfo", "TextEnableNumbersRequest"),
    *("TextEnableTollFreeNumbersRequest", "HostingOrder", "HostingOrderNumber"),
    *("HostingOrderReport", "ImportedNumber", "CallbackConfiguration", "OrderRejectedError"),
}
"""The public names that must not be missing."""

METHODS = {
    "list_numbers": "*states, region_code=None, page_size=None, order_by=None, "
    "timeout=None, retry=None",
    "list_number_pages": "state, *, region_code=None, page_size=None, order_by=None, "
    "page_token=None, prefetch=False, timeout=None, retry=None",
    "get_number": "phone_number, *, timeout=None, retry=None",
    "delete_number": "phone_number, *, timeout=None, retry=None",
    "add_numbers": "phone_numbers, *, timeout=None, retry=None, prepared=None",
    "text_enable_numbers": "request, *, timeout=None, retry=None, prepared=None",
    "text_enable_toll_free_numbers": "request, *, timeout=None, retry=None, prepared=None",
    "send_voice_challenge": "phone_number, *, timeout=None, retry=None, prepared=None",
    "verify_voice_challenge": "phone_number, code, *, timeout=None, retry=None, prepared=None",
    "wait_for_state": "phone_number, *states, timeout, unless=None, retry=None",
    "prepare": "*, timeout=None",
    "request": "method, path, *, query=None, json=None, headers=None, idempotent=None, "
    "timeout=None, retry=None",
    "close": "",
}
"""The client's public methods and their parameters."""


RESOURCES = {
    "hosting_orders.get": "order_id, *, timeout=None, retry=None",
    "hosting_orders.wait": "order_id, *, timeout, retry=None",
    "hosting_orders.follow": "order_id, *, timeout, retry=None",
    "hosting_orders.report": "order_id, *, timeout=None, retry=None",
    "hosting_orders.list": "*states, type, service_plan_id, campaign_id, region_code=None, "
    "order_by=None, page_size=None, timeout=None, retry=None",
    "hosting_orders.list_numbers": "order_id, *, osr_update_state=None, "
    "campaign_provisioning_state=None, platform_provisioning_state=None, order_by=None, "
    "page_size=None, timeout=None, retry=None",
    "hosting_orders.get_number": "order_id, phone_number, *, timeout=None, retry=None",
    "hosting_orders.import_numbers": "request, *, timeout=None, retry=None, prepared=None",
    "hosting_orders.text_enable_numbers": "request, *, timeout=None, retry=None, prepared=None",
    "hosting_orders.text_enable_toll_free_numbers": "request, *, timeout=None, retry=None, "
    "prepared=None",
    "imported_numbers.get": "phone_number, *, timeout=None, retry=None",
    "imported_numbers.list": "*, service_plan_id, campaign_id, region_code=None, pattern=None, "
    "search_pattern=None, order_by=None, page_size=None, timeout=None, retry=None",
    "imported_numbers.import_number": "request, *, timeout=None, retry=None, prepared=None",
    "imported_numbers.update": "phone_number, *, display_name=None, callback_url=None, "
    "service_plan_id=None, campaign_id=None, timeout=None, retry=None, prepared=None",
    "imported_numbers.move": "phone_number, *, service_plan_id=None, campaign_id=None, timeout, "
    "retry=None",
    "imported_numbers.delete": "phone_number, *, timeout=None, retry=None",
    "callback_configuration.get": "*, timeout=None, retry=None",
    "callback_configuration.update": "hmac_secret, *, timeout=None, retry=None",
}
"""The public methods of the client's resources and their parameters."""


@attrs.frozen
class Face:
    """A package whose names are loaded when they are used."""

    package: ModuleType

    def __str__(self) -> str:
        return self.package.__name__

    @property
    def all(self) -> tuple[str, ...]:
        """Its `__all__`."""
        return tuple(vars(self.package)["__all__"])

    @property
    def module_of(self) -> dict[str, str]:
        """The module of each of its names."""
        table = vars(self.package)["_NAMES"].items()
        return {name: module for module, names in table for name in names}

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that it offers themselves."""
        return tuple(vars(self.package).get("_MODULES", ()))


FACES = tuple(map(Face, (sinch_qn, bulk, journal, report, parsing, jobs)))


def parameters(of: Any) -> str:
    """Return the parameters of a function or class without annotations and `self`."""
    signature = inspect.signature(of)
    kept = [
        parameter.replace(annotation=parameter.empty)
        for name, parameter in signature.parameters.items()
        if name != "self"
    ]
    return str(inspect.Signature(kept))[1:-1]


def run_fresh(code: str) -> str:
    """Return the output of *code* in a new interpreter that turns warnings into errors."""
    done = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        check=True,
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith(("COV", "PYTEST"))},
        text=True,
        timeout=60,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("face", FACES, ids=str)
def test_all_is_sorted_and_complete(face: Face) -> None:
    """`__all__` is the lazy table and the modules, sorted, without duplicates."""
    assert list(face.all) == sorted({*face.module_of, *face.modules})
    assert dir(face.package) == list(face.all)
    assert face.package is not sinch_qn or set(face.all) >= DESIGNED


@pytest.mark.parametrize("face", FACES, ids=str)
def test_public_names_are_there(face: Face) -> None:
    """Every public name can be imported from its package and is its module's object."""
    for name in face.all:
        value = getattr(face.package, name)
        if name in face.modules:
            assert value is importlib.import_module(f"{face}.{name}"), name
        else:
            module = importlib.import_module(f"{face}.{face.module_of[name]}")
            assert value is getattr(module, name), name
            if inspect.isclass(value) or inspect.isfunction(value):
                assert value.__module__.startswith(f"{face}"), name


@pytest.mark.parametrize("face", FACES, ids=str)
def test_names_are_loaded_once_when_they_are_used(face: Face) -> None:
    """A name is loaded at its first use only."""
    for name in face.all:
        vars(face.package).pop(name, None)
        first = getattr(face.package, name)
        assert vars(face.package)[name] is first
        assert getattr(face.package, name) is first


@pytest.mark.parametrize("module", [errors, models], ids=lambda module: module.__name__)
def test_every_error_model_and_enum_is_at_the_top(module: ModuleType) -> None:
    """Each public class of `errors` and `models` can be imported from `sinch_qn`."""
    defined = {
        name
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and name[0] != "_"
    }
    assert len(defined) > 10
    assert defined <= set(ALL)


def named(annotation: Any) -> Iterator[type]:
    """Yield the classes of this package that an annotation names, at any depth."""
    for part in get_args(annotation):
        yield from named(part)
    if inspect.isclass(annotation) and annotation.__module__.startswith("sinch_qn"):
        yield annotation


def test_what_signatures_name_can_be_imported() -> None:
    """Each class that a caller's method or function takes or returns is public, too."""
    offered = [getattr(each, name) for each in (sinch_qn, bulk) for name in vars(each)["__all__"]]
    made: list[Any] = [QualifiedNumbersClient, bulk.VoiceChallengeRun, bulk.TextEnableRun]
    resources = [each for each in offered if str(each).endswith("Resource'>")]
    reports = [bulk.RunReport, bulk.TextEnableReport]
    functions = [
        *filter(inspect.isfunction, offered),
        *(each.__init__ for each in made),
        *(
            method
            for each in (*made, *resources, *reports)
            for name, method in inspect.getmembers(each, inspect.isfunction)
            if name[0] != "_"
        ),
    ]
    assert len(functions) > 50
    for function in functions:
        hints = get_type_hints(function)
        missing = {each for hint in hints.values() for each in named(hint)} - set(offered)
        assert not missing, f"{function.__qualname__}: {missing}"


def test_options_are_those_of_the_constructor() -> None:
    """`ClientOptions`, which `from_env` takes, has the client's keyword arguments and types."""
    hints = get_type_hints(QualifiedNumbersClient.__init__)
    taken = inspect.signature(QualifiedNumbersClient).parameters.values()
    assert get_type_hints(ClientOptions) == {
        each.name: hints[each.name] for each in taken if each.kind is each.KEYWORD_ONLY
    }


@pytest.mark.parametrize("face", FACES, ids=str)
@pytest.mark.parametrize("name", ["nothing", "__path_to_nowhere__", "_converter", "Client"])
def test_unknown_name_is_an_attribute_error(face: Face, name: str) -> None:
    """An unknown name is an AttributeError."""
    with pytest.raises(AttributeError, match=f"module '{face}' has no attribute '{name}'"):
        getattr(face.package, name)
    assert not hasattr(face.package, name)


@pytest.mark.parametrize("face", FACES, ids=str)
def test_type_checkers_see_the_lazy_table(face: Face) -> None:
    """`__init__` imports the same names for type checkers as it loads at run time."""
    tree = ast.parse(Path(str(face.package.__file__)).read_text())
    (block,) = (
        n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"
    )
    imported = {
        alias.name: (node.module or "").removeprefix(f"{face}").lstrip(".")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == face.module_of | dict.fromkeys(face.modules, "")


def test_star_import_gives_the_public_names() -> None:
    """`from sinch_qn import *` imports exactly `__all__`."""
    code = "from sinch_qn import *; print(*sorted(n for n in dir() if n[:2] != '__'))"
    expected = [name for name in ALL if name != "__version__"]
    assert run_fresh(code).split() == expected


def test_client_is_made_as_designed() -> None:
    """The client takes a project and credentials; all options are keyword-only."""
    assert parameters(QualifiedNumbersClient) == (
        "project_id, auth, *, base_url='https://imported.numbers.api.sinch.com', session=None, "
        f"timeout=30.0, retry={RetryPolicy()!r}, rate_limit=None, allow_http=False, "
        "max_connections=100, max_body=16777216, proxy=None, ssl=None, headers=None, "
        "user_agent=None, hooks=()"
    )
    assert RetryPolicy().max_attempts == 4


def test_client_has_the_designed_methods() -> None:
    """The client's methods have the designed parameters, kinds and defaults."""
    methods = {
        name: parameters(method)
        for name, method in inspect.getmembers(QualifiedNumbersClient, inspect.isfunction)
        if not name.startswith("_")
    }
    assert methods == METHODS


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"prepare", "close"}))
def test_every_method_takes_timeout_and_retry_by_keyword(name: str) -> None:
    """Each call's deadline and retry policy can be set, by keyword only."""
    taken = inspect.signature(getattr(QualifiedNumbersClient, name)).parameters
    for option in ("timeout", "retry"):
        assert taken[option].kind is inspect.Parameter.KEYWORD_ONLY
    needed = name == "wait_for_state"
    assert taken["timeout"].default is (inspect.Parameter.empty if needed else None)


def test_resources_have_the_designed_methods() -> None:
    """The methods of each resource have the designed parameters; all have a docstring."""
    client = QualifiedNumbersClient("project", BasicAuth("key", "secret"))
    methods = {
        f"{resource}.{name}": method
        for resource in ("hosting_orders", "imported_numbers", "callback_configuration")
        for name, method in inspect.getmembers(type(getattr(client, resource)), inspect.isfunction)
        if not name.startswith("_")
    }
    assert {name: parameters(method) for name, method in methods.items()} == RESOURCES
    assert all(map(inspect.getdoc, methods.values()))


def test_credentials_limits_and_policies_are_made_as_designed() -> None:
    """The other public classes have the designed parameters."""
    designed = {"key_id", "key_secret"}
    assert set(inspect.signature(BasicAuth).parameters) == designed
    taken = inspect.signature(OAuth2).parameters
    assert list(taken)[:3] == ["key_id", "key_secret", "token_url"]
    assert taken["token_url"].kind is inspect.Parameter.KEYWORD_ONLY
    assert taken["token_url"].default == "https://auth.sinch.com/oauth2/token"
    assert parameters(RateLimit) == "per_second, *, burst=1"
    assert parameters(RetryPolicy).startswith("*, max_attempts=4")
    assert {f.name for f in attrs.fields(Page)} == {
        "items",
        "next_page_token",
        "total_size",
        "state",
    }


def test_help_shows_no_environment() -> None:
    """No default in a signature contains the environment and its secrets."""
    code = "import pydoc, sinch_qn; print(pydoc.render_doc(sinch_qn.QualifiedNumbersClient))"
    os.environ["SINCH_KEY_SECRET_CANARY"] = "canary7f3a"
    try:
        assert "canary7f3a" not in run_fresh(code)
    finally:
        del os.environ["SINCH_KEY_SECRET_CANARY"]


def test_models_are_frozen_slotted_and_by_keyword() -> None:
    """Every model is immutable, has no other attributes, and takes keyword arguments only."""
    classes = [m for m in vars(models).values() if inspect.isclass(m) and attrs.has(m)]
    assert len(classes) > 10
    for model in classes:
        kinds = {p.kind for p in inspect.signature(model).parameters.values()}
        assert kinds <= {inspect.Parameter.KEYWORD_ONLY}, model
        assert "__slots__" in vars(model), model
        assert model.__setattr__ is not object.__setattr__, model


def test_public_things_have_docstrings() -> None:
    """Every public class and every method of the client has a docstring."""
    for name in ALL:
        if name not in {"__version__", "RetryRule"}:
            assert inspect.getdoc(getattr(sinch_qn, name)), name
    for name in METHODS:
        assert inspect.getdoc(getattr(QualifiedNumbersClient, name)), name


@pytest.mark.parametrize(
    "module", ["sinch_qn", "sinch_qn.errors", "sinch_qn.bulk", "sinch_qn.pytest_plugin"]
)
def test_import_is_cheap(module: str) -> None:
    """Importing a face, the errors or the pytest plugin imports no networking library."""
    heavy = {"aiohttp", "cattrs", "orjson", "yarl", "asyncio", "jsonschema_rs", "sinch_qn.client"}
    if module == "sinch_qn.pytest_plugin":
        heavy -= {"asyncio"}  # imported by pytest
    code = f"import sys, {module}; print(*sorted({heavy} & set(sys.modules)))"
    assert run_fresh(code) == ""


def test_a_journal_and_its_reports_need_no_client() -> None:
    """Codes are submitted, and reports written, without aiohttp: only runs need the client."""
    names = set(vars(bulk)["__all__"]) - {"VoiceChallengeRun", "RunReport", "RunEvent"}
    offline = ", ".join(sorted(names - {"TextEnableRun", "Fleet"}))
    code = f"import sys; from sinch_qn.bulk import {offline}; print('aiohttp' in sys.modules)"
    assert run_fresh(code) == "False"
    assert run_fresh(code.replace("bulk import", "bulk import VoiceChallengeRun,")) == "True"


def test_names_work_in_a_fresh_interpreter() -> None:
    """The first use of a name loads it, in an interpreter that has imported nothing else."""
    code = "import sinch_qn; print(sinch_qn.QualifiedNumbersClient.__name__, sinch_qn.__version__)"
    assert run_fresh(code) == f"QualifiedNumbersClient {sinch_qn.__version__}"


def test_package_is_typed() -> None:
    """The package has the marker for type checkers."""
    assert (ROOT / "sinch_qn/py.typed").is_file()


def test_the_version_is_in_one_place() -> None:
    """The distribution reads its version from the package, and has none of its own."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in pyproject["project"]
    path = pyproject["tool"]["hatch"]["version"]["path"]
    assert f'__version__ = "{sinch_qn.__version__}"' in (ROOT / path).read_text()
