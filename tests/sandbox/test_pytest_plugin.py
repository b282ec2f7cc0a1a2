"""The fixtures, as a user's own tests would have them."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

USER_TESTS = """
    import pytest

    NUMBER = "+12025550134"

    {marker}
    async def test_a_call(sinch_sandbox, sinch_client):
        sinch_sandbox.add([NUMBER])
        await sinch_client.send_voice_challenge(NUMBER)
        code = sinch_sandbox.code_for(NUMBER)
        number = await sinch_client.verify_voice_challenge(NUMBER, code)
        assert number.global_process_state.name == "VERIFIED"
        assert sinch_sandbox.calls.count("sendVoiceChallenge", NUMBER) == 1

    {marker}
    async def test_another_has_a_sandbox_of_its_own(sinch_sandbox):
        assert sinch_sandbox.calls.total("sendVoiceChallenge") == 0
"""


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    """Run pytest with the plugin loaded once, whether it is installed or not."""
    plugin = ("-p", "no:sinch_qn", "-p", "sinch_qn.pytest_plugin")
    return pytester.runpytest_inprocess(*plugin, "-W", "error", *options)


@pytest.mark.parametrize(("mode", "marker"), [("auto", ""), ("strict", "@pytest.mark.asyncio")])
def test_the_fixtures_work_in_both_modes(pytester: pytest.Pytester, mode: str, marker: str) -> None:
    """In both modes of pytest-asyncio a test gets a new sandbox and a client of it."""
    pytester.makepyfile(USER_TESTS.format(marker=marker))
    scope = ("-o", "asyncio_default_fixture_loop_scope=function")
    run(pytester, "-o", f"asyncio_mode={mode}", *scope).assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("tests", "fixtures", "mark"),
    [
        ("session", "function", ""),
        ("function", "session", ""),
        ("module", "session", ""),
        ("function", "module", "loop_scope='module'"),
        ("function", "function", "loop_scope='session'"),
    ],
)
def test_the_fixtures_live_in_the_loop_of_the_test(
    pytester: pytest.Pytester, tests: str, fixtures: str, mark: str
) -> None:
    """Whatever the scope of the loops of tests and fixtures, each test gets a new sandbox."""
    module = f"import pytest\npytestmark = pytest.mark.asyncio({mark})\n"
    pytester.makepyfile(module + textwrap.dedent(USER_TESTS.format(marker="")))
    run(
        pytester,
        *("-o", "asyncio_mode=strict"),
        *("-o", f"asyncio_default_test_loop_scope={tests}"),
        *("-o", f"asyncio_default_fixture_loop_scope={fixtures}"),
    ).assert_outcomes(passed=2)


def test_without_pytest_asyncio_other_tests_go_on(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without pytest-asyncio only tests that use the fixtures fail."""
    pytester.makepyfile(pytest_asyncio="raise ImportError('not installed')")
    pytester.syspathinsert()
    for module in ("pytest_asyncio", "sinch_qn.pytest_plugin"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    pytester.makepyfile(
        """
        def test_plain(): pass
        def test_with_a_sandbox(sinch_sandbox): pass
        """
    )
    result = run(pytester, "-p", "no:asyncio")
    outcomes = result.parseoutcomes()
    assert outcomes.pop("passed") == 1
    assert sum(outcomes.values()) == 1
    result.stdout.fnmatch_lines(["*sinch_sandbox needs pytest-asyncio: pip install*"])


def test_the_plugin_loads_nothing_until_it_is_used() -> None:
    """The plugin, which each pytest run imports, imports neither the client nor aiohttp."""
    program = (
        "import sys, sinch_qn.pytest_plugin\n"
        "heavy = {'aiohttp', 'attrs', 'cattrs', 'jsonschema_rs', 'orjson', 'sinch_qn.client'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)  # noqa: S603 - a fixed program
