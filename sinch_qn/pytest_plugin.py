"""Fixtures for your own tests: `sinch_sandbox`, and `sinch_client` for it.

pytest loads this wherever sinch_qn is installed, so nothing else of the package is imported until
a test uses a fixture. They need pytest-asyncio, in either mode, and the extra `[sandbox]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

try:
    from pytest_asyncio import fixture
except ImportError:  # the fixtures then fail with pytest's own explanation
    fixture = pytest.fixture  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sinch_qn.client import QualifiedNumbersClient
    from sinch_qn.sandbox import Sandbox


@fixture
async def sinch_sandbox() -> AsyncIterator[Sandbox]:
    """Run a sandbox with default settings for one test."""
    from sinch_qn.sandbox import Sandbox  # noqa: PLC0415 - only if a test uses it

    async with Sandbox() as sandbox:
        yield sandbox


@fixture
async def sinch_client(sinch_sandbox: Sandbox) -> AsyncIterator[QualifiedNumbersClient]:
    """Return a client of the test's sandbox."""
    async with sinch_sandbox.client() as client:
        yield client
