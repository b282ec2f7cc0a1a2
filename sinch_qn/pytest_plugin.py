"""Fixtures for your own tests: `sinch_sandbox`, and `sinch_client` for it.

pytest loads this wherever sinch_qn is installed, so the rest of the package is imported only when
a test uses a fixture. They need pytest-asyncio, in either mode, and the extra `[sandbox]`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Literal

import pytest

pytest_asyncio: Any
try:
    import pytest_asyncio
except ImportError:
    pytest_asyncio = None

if TYPE_CHECKING:
    from sinch_qn.client import QualifiedNumbersClient
    from sinch_qn.sandbox import Sandbox


def _sandbox_in(loop: Literal["function", "class", "module", "package", "session"]) -> Any:
    """Return a fixture that runs a sandbox for one test in the event loop of that scope."""
    if pytest_asyncio is None:
        return None

    async def run_sandbox() -> AsyncIterator[Sandbox]:
        from sinch_qn.sandbox import Sandbox  # noqa: PLC0415 - only when a test uses it

        async with Sandbox() as sandbox:
            yield sandbox

    return pytest_asyncio.fixture(loop_scope=loop, name=f"_sinch_sandbox_{loop}")(run_sandbox)


_in_function_loop = _sandbox_in("function")
_in_class_loop = _sandbox_in("class")
_in_module_loop = _sandbox_in("module")
_in_package_loop = _sandbox_in("package")
_in_session_loop = _sandbox_in("session")


@pytest.fixture
def sinch_sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """Run a sandbox for one test, with default settings, in the event loop of that test."""
    if pytest_asyncio is None:
        pytest.fail("the fixture sinch_sandbox needs pytest-asyncio: pip install pytest-asyncio")
    marker = request.node.get_closest_marker("asyncio")
    scope = marker.kwargs.get("loop_scope") if marker else None
    scope = scope or request.config.getini("asyncio_default_test_loop_scope")
    sandbox: Sandbox = request.getfixturevalue(f"_sinch_sandbox_{scope}")
    return sandbox


@pytest.fixture
def sinch_client(sinch_sandbox: Sandbox) -> QualifiedNumbersClient:
    """Return a client of the test's sandbox, which closes it."""
    return sinch_sandbox.client()
