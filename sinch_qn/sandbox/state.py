"""The state that a sandbox's parts share: settings, world, tokens, counts, faults. No I/O."""

from __future__ import annotations

import base64
import secrets
from collections import Counter
from collections.abc import Iterable
from random import Random

import attrs

from sinch_qn._operations import OPERATIONS
from sinch_qn.sandbox.clock import Clock
from sinch_qn.sandbox.faults import Faults
from sinch_qn.sandbox.request_validation import Violation
from sinch_qn.sandbox.settings import Settings
from sinch_qn.sandbox.world import World

TOKEN = "token"  # noqa: S105 - the name under which token requests are counted
MAX_TOKENS = 10_000
"""Tokens kept; an older one gets the response of a made-up one."""
MAX_VIOLATIONS = 10_000
"""Violations kept: the first."""

_COUNTED = (*(operation.id for operation in OPERATIONS), TOKEN)


class Calls:
    """Request counts: by operation, and by phone number if the path has one."""

    def __init__(self) -> None:
        self._totals: Counter[str] = Counter(dict.fromkeys(_COUNTED, 0))
        self._by_number: dict[str, Counter[str]] = {each: Counter() for each in _COUNTED}

    def add(self, operation_id: str, phone_number: str = "") -> None:
        """Count one request."""
        self._totals[operation_id] += 1
        if phone_number:
            self._by_number[operation_id][phone_number] += 1

    def count(self, operation_id: str, phone_number: str) -> int:
        """Return an operation's count for one number; an unknown operation is a KeyError."""
        return self._by_number[operation_id][phone_number]

    def total(self, operation_id: str) -> int:
        """Return the count of an operation, or of `"token"`; an unknown one is a KeyError."""
        if operation_id not in self._totals:
            raise KeyError(operation_id)
        return self._totals[operation_id]

    def totals(self) -> dict[str, int]:
        """Return all totals."""
        return dict(self._totals)


@attrs.define(kw_only=True, eq=False, slots=False)
class SandboxState(Settings):
    """The settings of a sandbox, and all that requests change."""

    key_id: str = "sandbox-key-id"
    key_secret: str = attrs.field(default="sandbox-key-secret", repr=False)
    token_lifetime: float = 3600.0
    """Lifetime of an access token, on the sandbox's clock."""
    latency: float = 0.0
    """Delay of every response, in real seconds."""
    callback_retry: float = 0.5
    """Real seconds before a callback is sent again; twice that before the last time."""
    callbacks_leave_machine: bool = False
    """Whether callbacks may go to other hosts; otherwise those are withheld."""
    clock: Clock = attrs.Factory(Clock)
    random: Random | None = None
    """Source of codes and ids; `random.Random(7)` makes a run repeatable."""

    world: World = attrs.field(init=False)
    calls: Calls = attrs.field(init=False)
    """Requests received, rejected ones included."""
    done: Calls = attrs.field(init=False)
    """Requests that had their effect, whatever the response was."""
    faults: Faults = attrs.field(init=False, repr=False)
    """Faults to inject."""
    violations: list[Violation] = attrs.field(init=False)
    """Violations of the API description in the requests received."""
    callbacks: Counter[str] = attrs.field(init=False)
    """Callbacks by outcome: `delivered`, `failed` or `withheld`."""
    tokens: dict[str, float] = attrs.field(init=False, repr=False)
    """Access tokens issued → when each expires."""

    def __attrs_post_init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Replace all but the settings and the clock by new objects."""
        self.world = World(self, clock=self.clock, random=self.random)
        self.calls, self.done = Calls(), Calls()
        self.faults = Faults(_COUNTED, TOKEN)
        self.violations, self.callbacks, self.tokens = [], Counter(), {}

    def issue_token(self) -> str:
        """Return a new access token."""
        if len(self.tokens) >= MAX_TOKENS:
            del self.tokens[next(iter(self.tokens))]
        token = secrets.token_urlsafe(24)
        self.tokens[token] = self.clock.now() + self.token_lifetime
        return token

    def revoke_tokens(self) -> int:
        """Expire all access tokens, and return how many there were."""
        self.tokens = dict.fromkeys(self.tokens, float("-inf"))
        return len(self.tokens)

    def is_key(self, credentials: str) -> bool:
        """Return whether Basic *credentials* are the key."""
        key = base64.b64encode(f"{self.key_id}:{self.key_secret}".encode()).decode()
        return secrets.compare_digest(credentials.encode(), key.encode())

    def record_violations(self, violations: Iterable[Violation]) -> None:
        """Keep *violations*, up to the limit."""
        self.violations.extend(violations)
        del self.violations[MAX_VIOLATIONS:]
