"""Hostile and invalid input: rejected with the field's name, and nothing is sent.

All input goes through the public client, against a server that counts its connections.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import orjson
import pytest

from sinch_qn import BasicAuth, OAuth2, Outcome, QualifiedNumbersClient, SinchError
from sinch_qn._http import Request, Response
from sinch_qn.errors import InvalidRequestError
from sinch_qn.models import (
    Address,
    AuthorizedPerson,
    BlanketLoaInfo,
    GlobalProcessState,
    TextEnableNumbersRequest,
    TextEnableTollFreeNumbersRequest,
)
from tests.support.loa import DIRECT, RESELLER

Client = QualifiedNumbersClient
Call = Callable[[Client], Awaitable[object]]

PHONE = "+12025550134"
PROJECT = "5a4db0c5-0000-4000-8000-000000000001"
CANARY = "canary7f3a"
HUGE = "9" * 10_000_000
ORDER = TextEnableNumbersRequest(
    region_code="US", numbers=[PHONE], service_plan_id="plan", direct_loa_info=DIRECT
)
TOLL_FREE = TextEnableTollFreeNumbersRequest(
    region_code="CA", numbers=["+18335870229"], service_plan_id="plan", reseller_loa_info=RESELLER
)

INJECTIONS = {
    "dots": "../../admin",
    "slash": "a/b",
    "encoded slash": "..%2F..%2Fadmin",
    "encoded colon": "x%3AsendVoiceChallenge",
    "colon": "x:sendVoiceChallenge",
    "query": "x?y=z",
    "fragment": "x#y",
    "backslash": "x\\y",
    "at": "x@evil.example",
    "CR LF": "x\r\nX-Evil: 1",
    "LF at the end": "x\n",
    "NUL": "x\x00",
    "space": "x y",
    "empty": "",
    "Arabic digits": "\u0661\u0662\u0663\u0664",
    "full-width digits": "\uff11\uff12\uff13\uff14",
    "surrogate": "x\ud800",
    "10 MB": HUGE,
}
"""Values that could reach another path, host or header, or break a parser."""

WRONG_TYPES: dict[str, Any] = {
    "None": None,
    "int": 1234,
    "float": 1.5,
    "bool": True,
    "bytes": b"1234",
    "list": ["1234"],
    "dict": {"a": 1},
    "object": object(),
}


def short(value: object) -> str:
    """Return a test's name for *value*, which may be 10 MB; the same each time."""
    try:
        return repr(value).partition(" at 0x")[0][:30]
    except ValueError:  # an integer of thousands of digits
        return "huge"


injections = pytest.mark.parametrize("value", INJECTIONS.values(), ids=INJECTIONS)
hostile = pytest.mark.parametrize(
    "value", [*INJECTIONS.values(), *WRONG_TYPES.values()], ids=[*INJECTIONS, *WRONG_TYPES]
)


@attrs.define
class Door:
    """A server that counts its connections, and a client of it."""

    client: Client
    connections: int = 0

    async def count(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Count a connection and close it."""
        self.connections += 1
        writer.close()

    async def refuses(self, call: Call, *fields: str, secret: str = "") -> InvalidRequestError:
        """Check that *call* is rejected, naming one of *fields*, without *secret* or long text."""
        with pytest.raises(InvalidRequestError) as caught:
            await call(self.client)
        error, text = caught.value, str(caught.value)
        assert text.startswith(tuple(f"{field}" for field in fields)), text[:200]
        assert isinstance(error, SinchError)
        assert isinstance(error, ValueError)
        assert error.outcome is Outcome.NOT_SENT
        assert len(text) < 400
        assert text.isprintable()
        if secret:
            assert secret not in f"{text}{error!r}{error.__cause__!r}{error.__context__!r}"
        await asyncio.sleep(0)
        assert self.connections == 0, "something was sent"
        return error


@asynccontextmanager
async def open_door() -> AsyncIterator[Door]:
    """Yield a door whose server closes every connection."""

    async def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await door.count(reader, writer)

    server = await asyncio.start_server(visited, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    auth = OAuth2("key", "secret", token_url=f"{url}/token")
    async with server, Client(PROJECT, auth, base_url=url, timeout=5) as client:
        door = Door(client)
        yield door


async def drain(listing: AsyncIterator[object]) -> list[object]:
    """Return all that *listing* yields."""
    return [item async for item in listing]


def ordering(**changes: Any) -> Call:
    """Return a call that orders with *changes*."""
    return lambda client: client.text_enable_numbers(attrs.evolve(ORDER, **changes))


async def test_the_door_counts_requests() -> None:
    """The server that must get no request does count the requests it gets."""
    async with open_door() as door:
        with pytest.raises(SinchError):
            await door.client.send_voice_challenge(PHONE, retry=lambda _: None)
        assert door.connections > 0


# ---- phone numbers -----------------------------------------------------------------------------

NUMBER_CALLS: dict[str, Callable[[Client, Any], Awaitable[object]]] = {
    "get": lambda client, value: client.get_number(value),
    "delete": lambda client, value: client.delete_number(value),
    "add": lambda client, value: client.add_numbers([PHONE, value]),
    "send": lambda client, value: client.send_voice_challenge(value),
    "verify": lambda client, value: client.verify_voice_challenge(value, "1234"),
    "wait": lambda client, value: client.wait_for_state(
        value, GlobalProcessState.VERIFIED, timeout=5
    ),
    "order": lambda client, value: client.text_enable_numbers(
        attrs.evolve(ORDER, numbers=[PHONE, value])
    ),
    "toll free": lambda client, value: client.text_enable_toll_free_numbers(
        attrs.evolve(TOLL_FREE, numbers=[PHONE, value])
    ),
}


@pytest.mark.parametrize("call", NUMBER_CALLS.values(), ids=NUMBER_CALLS)
@hostile
async def test_hostile_phone_number_goes_nowhere(
    call: Callable[[Client, Any], Awaitable[object]], value: Any
) -> None:
    """Every method that takes a phone number rejects one that is not E.164."""
    fields = ("phone_number:", "phone_numbers[1]:", "numbers[1]:")
    async with open_door() as door:
        await door.refuses(lambda client: call(client, value), *fields)
        if isinstance(value, str):
            await door.refuses(lambda client: call(client, PHONE + value + "\n"), *fields)


@pytest.mark.parametrize(
    "value", [PHONE, PHONE.encode(), None, 12025550134, 1.5, object()], ids=short
)
async def test_one_number_is_not_a_list(value: Any) -> None:
    """A string instead of a list of numbers is rejected, not iterated."""
    async with open_door() as door:
        await door.refuses(lambda client: client.add_numbers(value), "phone_numbers: expected a li")
        await door.refuses(ordering(numbers=value), "numbers: expected a list")


@pytest.mark.parametrize("count", [0, 501, 5000])
async def test_order_takes_1_to_500_numbers(count: int) -> None:
    """The documented limit of 500 numbers per order is enforced, and at least one is required."""
    numbers = [f"+1202555{index:04}" for index in range(count)]
    async with open_door() as door:
        await door.refuses(ordering(numbers=numbers), "numbers:")


async def test_at_least_one_number_is_needed() -> None:
    """No method sends an empty list."""
    none: list[str] = []
    empty = attrs.evolve(TOLL_FREE, numbers=none)
    async with open_door() as door:
        await door.refuses(lambda client: client.add_numbers(none), "phone_numbers: expected")
        await door.refuses(lambda client: client.add_numbers(iter(none)), "phone_numbers: expected")
        await door.refuses(
            lambda client: client.text_enable_toll_free_numbers(empty),
            "numbers: expected at least one",
        )


# ---- codes -------------------------------------------------------------------------------------


@hostile
async def test_hostile_code_goes_nowhere(value: Any) -> None:
    """A code is a string of 1 to 64 letters or digits, and no message repeats it."""
    if value in (INJECTIONS["Arabic digits"], INJECTIONS["full-width digits"]):
        return  # the reference does not say in which alphabet a code is
    async with open_door() as door:
        await door.refuses(lambda client: client.verify_voice_challenge(PHONE, value), "code:")


@pytest.mark.parametrize("value", [f"{CANARY} ", f"{CANARY}\n", CANARY * 10, [CANARY], 81549300])
async def test_no_message_repeats_a_code(value: Any) -> None:
    """A rejected code may be a correct one with a typo, so no message shows it."""
    async with open_door() as door:
        for secret in (CANARY, "81549300"):
            await door.refuses(
                lambda client: client.verify_voice_challenge(PHONE, value), "code:", secret=secret
            )


# ---- listings ----------------------------------------------------------------------------------


@injections
async def test_hostile_listing_option_goes_nowhere(value: str) -> None:
    """State, region and order are documented values."""
    options: dict[str, Any] = {"region_code": value, "order_by": value, "page_size": value}
    listed = GlobalProcessState.VERIFIED
    async with open_door() as door:
        await door.refuses(lambda client: drain(client.list_numbers(value)), "states:")
        await door.refuses(lambda client: drain(client.list_number_pages(value)), "states:")
        await door.refuses(lambda client: client.wait_for_state(PHONE, value, timeout=1), "states:")
        for name, option in options.items():
            given = {name: option}
            await door.refuses(
                lambda client, given=given: drain(client.list_numbers(**given)),  # type: ignore[misc]
                f"{name}:",
            )
            await door.refuses(
                lambda client, given=given: drain(client.list_number_pages(listed, **given)),  # type: ignore[misc]
                f"{name}:",
            )


@pytest.mark.parametrize("value", [v for v in WRONG_TYPES.values() if v is not None], ids=short)
async def test_listing_option_of_a_wrong_type_goes_nowhere(value: Any) -> None:
    """An option of a listing has its type, and a page token is a string."""
    listed = GlobalProcessState.VERIFIED
    async with open_door() as door:
        await door.refuses(lambda client: drain(client.list_numbers(value)), "states:")
        for name in ("region_code", "order_by", "page_token"):
            given = {name: value}
            await door.refuses(
                lambda client, given=given: drain(client.list_number_pages(listed, **given)),  # type: ignore[misc]
                f"{name}:",
            )


@pytest.mark.parametrize("value", ["", "x\ud800"], ids=short)
async def test_a_page_token_is_text(value: str) -> None:
    """A page token is not empty and can be written as UTF-8; what it holds is not looked at."""
    async with open_door() as door:
        await door.refuses(
            lambda client: drain(
                client.list_number_pages(GlobalProcessState.VERIFIED, page_token=value)
            ),
            "page_token:",
        )


@pytest.mark.parametrize("value", [-1, True, 1.0, "20", 2**31, 10**5000, -(10**5000)], ids=short)
async def test_page_size_is_a_whole_number_from_0(value: Any) -> None:
    """A page size is a 32-bit integer; 0 is not forbidden."""
    async with open_door() as door:
        await door.refuses(lambda client: drain(client.list_numbers(page_size=value)), "page_size:")


@pytest.mark.parametrize(
    "state",
    [
        "VERIFIE",
        "STATE_VERIFIED",
        "GLOBAL_PROCESS_STATE_",
        "GLOBAL_PROCESS_STATE_\u00dc",
        "",
        None,
        1,
    ],
)
async def test_state_is_an_enum_value_or_its_wire_name(state: Any) -> None:
    """An impossible state is rejected; an unknown one has the enum's prefix and alphabet."""
    async with open_door() as door:
        await door.refuses(lambda client: drain(client.list_numbers(state)), "states:")
        giant = f"GLOBAL_PROCESS_STATE_{'A' * 10_000_000}"
        await door.refuses(lambda client: drain(client.list_numbers(giant)), "states:")


async def test_a_wait_needs_a_state() -> None:
    """A wait for no state is rejected."""
    async with open_door() as door:
        await door.refuses(
            lambda client: client.wait_for_state(PHONE, timeout=1), "states: expected"
        )


# ---- timeouts ----------------------------------------------------------------------------------

TIMEOUTS = [0, 0.0, -1, -0.5, math.nan, math.inf, -math.inf, True, "30", b"1", [], 10**5000]


@pytest.mark.parametrize("value", TIMEOUTS, ids=short)
async def test_timeout_is_a_number_above_zero(value: Any) -> None:
    """No call takes a timeout that is zero, negative, infinite, or not a number."""
    verified = GlobalProcessState.VERIFIED
    calls: list[Call] = [
        lambda client: client.get_number(PHONE, timeout=value),
        lambda client: client.delete_number(PHONE, timeout=value),
        lambda client: client.add_numbers([PHONE], timeout=value),
        lambda client: client.text_enable_numbers(ORDER, timeout=value),
        lambda client: client.text_enable_toll_free_numbers(TOLL_FREE, timeout=value),
        lambda client: client.send_voice_challenge(PHONE, timeout=value),
        lambda client: client.verify_voice_challenge(PHONE, "1234", timeout=value),
        lambda client: client.wait_for_state(PHONE, verified, timeout=value),
        lambda client: drain(client.list_numbers(verified, timeout=value)),
        lambda client: drain(client.list_number_pages(verified, timeout=value)),
    ]
    async with open_door() as door:
        for call in calls:
            await door.refuses(call, "timeout:")
    with pytest.raises(InvalidRequestError, match=r"^timeout:"):
        Client(PROJECT, BasicAuth("key", "secret"), timeout=value)


# ---- orders ------------------------------------------------------------------------------------


@pytest.mark.parametrize("region", ["us", "GB", "USA", "", "US\n", None, 1, "\uff35\uff33"])
async def test_region_is_us_or_ca(region: Any) -> None:
    """Text enablement is for the United States and Canada only."""
    toll_free = attrs.evolve(TOLL_FREE, region_code=region)
    async with open_door() as door:
        await door.refuses(ordering(region_code=region), "region_code:")
        await door.refuses(
            lambda client: client.text_enable_toll_free_numbers(toll_free), "region_code:"
        )


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"direct_loa_info": DIRECT, "reseller_loa_info": RESELLER},
        {"direct_loa_info": DIRECT, "blanket_loa_info": BlanketLoaInfo()},
        {
            "direct_loa_info": DIRECT,
            "reseller_loa_info": RESELLER,
            "blanket_loa_info": BlanketLoaInfo(),
        },
    ],
    ids=len,
)
async def test_order_has_exactly_one_kind_of_loa(given: dict[str, Any]) -> None:
    """No, two or three kinds of LOA in one order are rejected, and the message names them."""
    none = dict.fromkeys(("direct_loa_info", "reseller_loa_info", "blanket_loa_info"))
    async with open_door() as door:
        error = await door.refuses(
            ordering(**none | given), "expected exactly one of direct_loa_info, "
        )
    for name in given or ["none"]:
        assert name in str(error).partition(", not ")[2]


@pytest.mark.parametrize("given", [{}, {"direct_loa_info": DIRECT, "reseller_loa_info": RESELLER}])
async def test_toll_free_order_has_exactly_one_kind_of_loa(given: dict[str, Any]) -> None:
    """A toll-free order carries a direct or a reseller LOA."""
    none: dict[str, Any] = dict.fromkeys(("direct_loa_info", "reseller_loa_info"))
    toll_free = attrs.evolve(TOLL_FREE, **none | given)
    async with open_door() as door:
        await door.refuses(
            lambda client: client.text_enable_toll_free_numbers(toll_free),
            "expected exactly one of direct",
        )


@pytest.mark.parametrize(
    "project", ["another", PROJECT.upper(), "", PROJECT + "\n", 5, f"../{PROJECT}"]
)
async def test_body_and_path_have_one_project(project: Any) -> None:
    """An order for another project than the client's is rejected."""
    async with open_door() as door:
        await door.refuses(ordering(project_id=project), "project_id:")


@pytest.mark.parametrize(
    "request_", [None, {}, TOLL_FREE, "order", [ORDER], TextEnableNumbersRequest]
)
async def test_order_is_of_its_class(request_: Any) -> None:
    """An order of the wrong type is rejected, including a dict and the other kind of order."""
    other: Any = ORDER if request_ is TOLL_FREE else request_
    async with open_door() as door:
        await door.refuses(lambda client: client.text_enable_numbers(request_), "request:")
        await door.refuses(
            lambda client: client.text_enable_toll_free_numbers(other),
            "request:",
        )


PATHS = [
    *(
        f"{loa}.{inner}"
        for loa in ("direct_loa_info", "reseller_loa_info")
        for inner in (
            *(f"authorised_person.{field.name}" for field in attrs.fields(AuthorizedPerson)),
            *(f"address.{field.name}" for field in attrs.fields(Address)),
            "current_voice_carrier",
        )
    ),
    "reseller_loa_info.business_name",
    "service_plan_id",
    "display_name",
    "nnid",
    "campaign_id",
    "callback_url",
]
TEXT_HOSTILE = {
    "surrogate": f"{CANARY}\ud800",
    "int": 7,
    "bytes": CANARY.encode(),
    "list": [CANARY],
    "dict": {CANARY: CANARY},
}


def change(model: Any, path: str, value: object) -> Any:
    """Return *model* with another value at *path*."""
    name, _, rest = path.partition(".")
    return attrs.evolve(
        model, **{name: change(getattr(model, name), rest, value) if rest else value}
    )


@pytest.mark.parametrize("path", PATHS)
async def test_hostile_text_in_an_order_goes_nowhere(path: str) -> None:
    """Each text of an order is checked, named by its path, and never repeated."""
    reseller = attrs.evolve(ORDER, direct_loa_info=None, reseller_loa_info=RESELLER)
    order = reseller if path.startswith("reseller") else ORDER
    async with open_door() as door:
        for value in TEXT_HOSTILE.values():
            changed = change(order, path, value)
            await door.refuses(
                lambda client, changed=changed: client.text_enable_numbers(changed),  # type: ignore[misc]
                f"{path}:",
                secret=CANARY,
            )


@pytest.mark.parametrize("path", [p for p in PATHS if "." in p or p == "service_plan_id"])
async def test_required_text_of_an_order_is_there(path: str) -> None:
    """None is rejected for a required text."""
    reseller = attrs.evolve(ORDER, direct_loa_info=None, reseller_loa_info=RESELLER)
    changed = change(reseller if path.startswith("reseller") else ORDER, path, None)
    async with open_door() as door:
        await door.refuses(
            lambda client: client.text_enable_numbers(changed),
            f"{path}: expected str, not NoneType",
        )


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"direct_loa_info": {"authorisedPerson": CANARY}}, "direct_loa_info: expected DirectLoa"),
        ({"direct_loa_info": RESELLER}, "direct_loa_info: expected DirectLoaInfo, not Reseller"),
        ({"blanket_loa_info": True}, "blanket_loa_info: expected BlanketLoaInfo, not bool"),
        ({"migrate_to_sinch_tmo": 1}, "migrate_to_sinch_tmo: expected bool, not int"),
        ({"migrate_to_sinch_tmo": CANARY}, "migrate_to_sinch_tmo: expected bool, not str"),
        ({"numbers": (PHONE,)}, "numbers: expected list, not tuple"),
        ({"numbers": {PHONE: 1}}, "numbers: expected list, not dict"),
        ({"scheduled_osr_update_time": "2023-01-13T14:34:40Z"}, "scheduled_osr_update_time: exp"),
        ({"scheduled_osr_update_time": 1673620480}, "scheduled_osr_update_time: expected datetime"),
        (
            {"scheduled_osr_update_time": datetime(2023, 1, 13)},  # noqa: DTZ001 - naive on purpose
            "scheduled_osr_update_time: expected a time with a zone",
        ),
        (
            {
                "scheduled_osr_update_time": datetime.min.replace(
                    tzinfo=timezone(timedelta(hours=9))
                )
            },
            "expected a time in the years",
        ),
    ],
)
async def test_field_of_an_order_has_its_type(changes: dict[str, Any], field: str) -> None:
    """Each field of an order has the type of its annotation; a naive time is rejected."""
    async with open_door() as door:
        await door.refuses(ordering(**changes), field, secret=CANARY)


async def test_naive_time_in_a_toll_free_order_is_refused() -> None:
    """A toll-free order's time needs a zone, too."""
    naive = datetime(2023, 1, 13)  # noqa: DTZ001 - naive on purpose
    order = attrs.evolve(TOLL_FREE, scheduled_zipwhip_provisioning_time=naive)
    async with open_door() as door:
        await door.refuses(
            lambda client: client.text_enable_toll_free_numbers(order),
            "scheduled_zipwhip_provisioning_time: expected a time with a zone",
        )


@pytest.mark.parametrize(
    "url",
    [
        "example.com/hook",
        "ftp://example.com/hook",
        "javascript:alert(1)",
        "https://",
        "https:///hook",
        "https://exa mple.com",
        "https://example.com:99999/",
        "https://[::1/",
        "https://example.com/\\@evil.example",
        "https://example.com/\x00",
        "https://example.com/\r\nX-Evil: 1",
        " ",
        f"ftp://user:{CANARY}@example.com/hook",
    ],
)
async def test_callback_url_is_a_web_address(url: str) -> None:
    """A callback URL is http(s); a password in an invalid one is not repeated."""
    toll_free = attrs.evolve(TOLL_FREE, callback_url=url)
    async with open_door() as door:
        await door.refuses(ordering(callback_url=url), "callback_url:", secret=CANARY)
        await door.refuses(
            lambda client: client.text_enable_toll_free_numbers(toll_free),
            "callback_url:",
            secret=CANARY,
        )


# ---- what the client is made of ----------------------------------------------------------------


@hostile
def test_hostile_project_id_makes_no_client(value: Any) -> None:
    """A project id is 1 to 64 letters, digits, dashes or underscores."""
    with pytest.raises(InvalidRequestError, match=r"^project_id: ") as caught:
        Client(value, BasicAuth("key", "secret"))
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


BAD_URLS = [
    "",
    "/",
    "example.com",
    "//example.com",
    "ftp://example.com",
    "file:///etc/passwd",
    "https://",
    "https:///v1",
    "https://?x=y",
    "https://example.com?x=y",
    "https://example.com#x",
    "https://user@example.com",
    "https://@example.com",
    f"https://user:{CANARY}@example.com",
    f"htps://user:{CANARY}@example.com",
    f"http://user:{CANARY}@127.0.0.1",
    "https://example.com/?",
    "https://example.com/#",
    "https://example.com:99999",
    "https://example.com:port",
    "https://[::1",
    "https://[fe80::1%25eth0]/",
    "https://exa mple.com",
    "https://example.com\r\nX-Evil: 1",
    "https://example.com\n",
    "https://example.com\x00",
    "https://example.com\\@evil.example",
    "https://example.com%2F@evil.example",
    "https://example.com%2Fevil.example",
    "https://example.com;evil.example",
    "https://b\u00fccher.example",
    "https://example\u3002com",
    "https://example.com/" + "x" * 10_000_000,
    None,
    7,
    b"https://example.com",
    ["https://example.com"],
]


@pytest.mark.parametrize("url", BAD_URLS, ids=short)
def test_hostile_address_makes_no_client(url: Any) -> None:
    """Base and token addresses are https:// without user, query or fragment."""
    auth = BasicAuth("key", "secret")
    with pytest.raises(InvalidRequestError, match=r"^base_url: ") as base:
        Client(PROJECT, auth, base_url=url, allow_http=True)
    with pytest.raises(InvalidRequestError, match=r"^token_url: ") as token:
        Client(PROJECT, OAuth2("key", "secret", token_url=url), allow_http=True)
    for caught in (base, token):
        assert len(str(caught.value)) < 400
        assert str(caught.value).isprintable()
        assert (
            CANARY not in f"{caught.value!r}{caught.value.__cause__!r}{caught.value.__context__!r}"
        )


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "localhost.example.com",
        "10.0.0.1",
        "0.0.0.0",  # noqa: S104 - not to be bound to
        "127.0.0.1.nip.io",
        "[2001:db8::1]",
    ],
)
def test_http_is_for_loopback_only(host: str) -> None:
    """Unencrypted addresses beyond loopback are rejected unless allowed."""
    url, auth = f"http://{host}:8080", BasicAuth("key", "secret")
    with pytest.raises(InvalidRequestError, match=r"^base_url: .* is not encrypted"):
        Client(PROJECT, auth, base_url=url)
    with pytest.raises(InvalidRequestError, match=r"^token_url: .* is not encrypted"):
        Client(PROJECT, OAuth2("key", "secret", token_url=url))
    assert Client(PROJECT, auth, base_url=url, allow_http=True).base_url == url


@pytest.mark.parametrize(
    ("url", "base_url"),
    [
        ("https://example.com", "https://example.com"),
        ("https://example.com/", "https://example.com"),
        ("HTTPS://Example.com:8443/gateway/", "HTTPS://Example.com:8443/gateway"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://127.0.0.1", "http://127.0.0.1"),
        ("http://127.3.2.1/", "http://127.3.2.1"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_good_address_is_kept_without_its_last_slash(url: str, base_url: str) -> None:
    """https:// addresses and http:// on loopback are kept, without the trailing slash."""
    assert Client(PROJECT, BasicAuth("key", "secret"), base_url=url).base_url == base_url


@pytest.mark.parametrize("make", [BasicAuth, OAuth2])
@pytest.mark.parametrize(
    "value",
    [
        f"{CANARY}\r\nX-Evil: 1",
        f"{CANARY}\n",
        f"{CANARY}\x00",
        f"{CANARY} ",
        f"{CANARY}\u0661",
        f"{CANARY}\ud800",
        CANARY * 1_000_000,
        "",
        None,
        7,
        CANARY.encode(),
        [CANARY],
    ],
    ids=short,
)
def test_hostile_credential_is_refused_and_never_repeated(
    make: Callable[[Any, Any], object], value: Any
) -> None:
    """Key id and secret are printable ASCII; no message repeats them."""
    for field, arguments in (("key_id", (value, "secret")), ("key_secret", ("key", value))):
        with pytest.raises(InvalidRequestError, match=f"^{field}: ") as caught:
            make(*arguments)
        assert (
            CANARY not in f"{caught.value!r}{caught.value.__cause__!r}{caught.value.__context__!r}"
        )
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("make", [BasicAuth, OAuth2])
def test_colon_in_a_key_id_is_refused(make: Callable[[str, str], object]) -> None:
    """A colon would end the key id in HTTP Basic; a secret may have one."""
    with pytest.raises(InvalidRequestError, match=r"^key_id: .* or ':'"):
        make(f"{CANARY}:x", "secret")
    assert make("key", "secret:with:colons")


@pytest.mark.parametrize("value", ["../../admin", "..%2Fadmin", "x%3Ay", "a/b?c#d@e\\f"], ids=short)
async def test_odd_credential_stays_in_its_header(value: str) -> None:
    """A key travels as base64 in one header, and nowhere else."""
    sent: list[Request] = []

    async def send(request: Request, *_: object) -> Response:
        sent.append(request)
        return Response(200, {}, b'{"phoneNumber": "+12025550134", "access_token": "t"}')

    for auth in (BasicAuth(value, value), OAuth2(value, value)):
        async with Client(PROJECT, auth) as client:
            client._pipeline._transport.send = send  # type: ignore[method-assign, assignment]
            await client.get_number(PHONE)
    assert len(sent) == 3
    for request in sent:
        assert value not in f"{request.url}{request.body!r}{dict(request.headers)}"


@pytest.mark.parametrize("auth", [None, "key", b"key", ("key", "secret"), 7, object()])
def test_auth_is_not_a_plain_value(auth: Any) -> None:
    """Credentials are `OAuth2` or `BasicAuth`; a value of another type is not repeated."""
    with pytest.raises(InvalidRequestError, match=r"^auth: expected OAuth2 or BasicAuth, not \w+$"):
        Client(PROJECT, auth)


# ---- what is sent when all is well -------------------------------------------------------------


async def test_valid_input_is_sent_unchanged() -> None:
    """Documented values are sent unchanged, including those at the limits."""
    sent: list[Request] = []

    async def send(request: Request, *_: object) -> Response:
        sent.append(request)
        number = (request.phone_number or "x").encode()
        body = b'{"phoneNumber": "%s", "hostingOrderId": "x", "qualifiedNumbers": []}' % number
        return Response(200, {}, body)

    numbers = [f"+1202555{index:04}" for index in range(600)]
    order = attrs.evolve(
        ORDER,
        numbers=numbers[:500],
        project_id=PROJECT,
        direct_loa_info=None,
        blanket_loa_info=BlanketLoaInfo(),
        callback_url="http://user:password@b\u00fccher.example:8080/hook?x=y#z",
        migrate_to_sinch_tmo=False,
        scheduled_osr_update_time=datetime(2023, 1, 13, tzinfo=UTC),
        display_name="M\u00fcller & S\u00f6hne <\u3042> \U0001f600\r\n\x00 " + "x" * 10_000,
        service_plan_id=" ",
        campaign_id="",
    )
    async with Client(PROJECT, BasicAuth("key", "secret"), timeout=10**6) as client:
        client._pipeline._transport.send = send  # type: ignore[method-assign, assignment]
        await client.text_enable_numbers(order)
        await client.text_enable_numbers(ORDER)
        toll_free = attrs.evolve(TOLL_FREE, numbers=numbers)
        await client.text_enable_toll_free_numbers(toll_free)
        await client.add_numbers(number for number in numbers)
        for code in ("0123", "x", "Ab9" * 21, "\u0661\u0662\u0663", "\u00e9t\u00e9"):
            await client.verify_voice_challenge(PHONE, code, timeout=0.5)
        await drain(
            client.list_number_pages(
                "GLOBAL_PROCESS_STATE_BRAND_NEW_2",
                region_code="CA",
                page_size=2**31 - 1,
                order_by="updatedTime",
                page_token="a/b?c=d&e%2F..#:+=~",
            )
        )
        opaque = f"\u3042 \r\n\x00{'x' * 10_000}"
        await drain(
            client.list_number_pages("GLOBAL_PROCESS_STATE_X", page_size=0, page_token=opaque)
        )
    assert sent.pop().url.endswith(
        f"?states=GLOBAL_PROCESS_STATE_X&pageSize=0&pageToken=%E3%81%82%20%0D%0A%00{'x' * 10_000}"
    )
    bodies = [orjson.loads(request.body or b"{}") for request in sent]
    toll_free_body = next(body for body in bodies if body.get("numbers") == numbers)
    assert toll_free_body["projectId"] == PROJECT
    paths = {request.url.removeprefix("https://imported.numbers.api.sinch.com") for request in sent}
    root = f"/v1/projects/{PROJECT}/qualifiedNumbers"
    query = (
        "states=GLOBAL_PROCESS_STATE_BRAND_NEW_2&regionCode=CA&pageSize=2147483647"
        "&pageToken=a%2Fb%3Fc%3Dd%26e%252F..%23%3A%2B%3D~&orderBy=updatedTime"
    )
    assert paths == {
        f"{root}:textEnableNumbers",
        f"{root}:textEnableTollFreeNumbers",
        f"{root}:addNumbers",
        f"{root}/{PHONE}:verifyVoiceChallenge",
        f"{root}?{query}",
    }
