"""The Python of README and docs/ is run, block by block, on the sandbox.

All ```python blocks of a page run from top to bottom in one namespace, with `SINCH_*` set for a
sandbox, as if each were typed into `python -m asyncio`: a block may `await`, and a script that
calls `asyncio.run` is run in a thread. Every +1 number is in the sandbox, ELIGIBLE, before the
first block that has it runs, except those of the tutorial, which adds its own. A block with a
`def test_…` is run by pytest, as a user's test file.
A hidden comment right above a block:

    <!-- not run: reason -->
    <!-- given: code = sandbox.code_for("+12025550134") -->     runs this Python before the block
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from sinch_qn.sandbox import Sandbox

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
TUTORIAL = ROOT / "docs" / "tutorial.md"
PAGES = [
    README,
    *(p for p in sorted((ROOT / "docs").rglob("*.md")) if "```python" in p.read_text()),
]
"""README and every page that shows Python; guides/examples.md includes programs with tests."""

_BLOCK = re.compile(
    r"(?:^<!--(?P<note>(?:(?!-->).)*)-->[ \t]*\n\s*)?"
    r"^```(?P<info>[^\n]*)\n(?P<code>.*?)^```[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
_IDLE_PLUGINS = ("schemathesis", "hypothesispytest", "xdist", "anyio", "typeguard")
"""Plugins of this environment that no page needs: they take seconds to load."""
_NUMBER = re.compile(r"\+1[2-9][0-9]{9}\b")


@attrs.frozen
class Block:
    """A Python block of a page."""

    line: int
    """The line number of its first line of code, from 1."""
    code: str
    given: str = ""
    not_run: str = ""

    @property
    def is_test(self) -> bool:
        """Whether it is a test file."""
        return re.search(r"^(async )?def test_", self.code, re.MULTILINE) is not None


def blocks(text: str) -> list[Block]:
    """Return the Python blocks of a Markdown *text*."""
    found = []
    for match in _BLOCK.finditer(text):
        if match["info"].split()[:1] != ["python"]:
            continue
        line = text.count("\n", 0, match.start("code")) + 1
        note = (match["note"] or "").strip()
        kind, _, rest = note.partition(":")
        found.append(
            Block(
                line,
                match["code"],
                given=inspect.cleandoc(rest) if kind == "given" else "",
                not_run=rest.strip() if kind == "not run" else "",
            )
        )
    return found


async def run(code: str, page: str, line: int, namespace: dict[str, Any]) -> None:
    """Run *code*, which may await; a traceback has its line number on its page."""
    tree = ast.parse(code, page)
    ast.increment_lineno(tree, line - 1)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    compiled = compile(tree, page, "exec", flags=flags, dont_inherit=True)
    if "asyncio.run(" in code:
        await asyncio.to_thread(exec, compiled, namespace)
    elif coroutine := eval(compiled, namespace):  # noqa: S307 - the pages are ours
        await coroutine


async def run_as_test_files(tests: list[Block], directory: Path) -> None:
    """Run each block as a file, with pytest, as a user of the plugin would."""
    for block in tests:
        (directory / f"test_of_line_{block.line}.py").write_text(block.code)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-o", "asyncio_mode=auto", "-W", "error"),
        *("-o", "asyncio_default_fixture_loop_scope=function", "."),
        *(option for plugin in _IDLE_PLUGINS for option in ("-p", f"no:{plugin}")),
        cwd=directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def run_all(
    text: str, sandbox: Sandbox, directory: Path, page: str = "README.md", *, seed: bool = True
) -> dict[str, Any]:
    """Run the blocks of *text* in order and return their namespace; *seed* adds its numbers."""
    namespace: dict[str, Any] = {"__name__": "__main__", "sandbox": sandbox}
    known: set[str] = set()
    for block in blocks(text):
        if block.not_run:
            continue
        numbers = set(_NUMBER.findall(block.given + block.code))
        sandbox.add(sorted(numbers - known) if seed else [])
        known |= numbers
        try:
            await run(block.given, page, block.line, namespace)
            if not block.is_test:
                await run(block.code, page, block.line, namespace)
        except Exception as error:
            error.add_note(f"in the block of {page} that starts at line {block.line}")
            raise
    if tests := [block for block in blocks(text) if block.is_test and not block.not_run]:
        await run_as_test_files(tests, directory)
    return namespace


@pytest.fixture
def text(page: Path) -> str:
    """Return the text of a page."""
    return page.read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
async def test_every_python_block_runs(
    page: Path, text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A page's blocks run unchanged from top to bottom and break no rule of the API."""
    monkeypatch.chdir(tmp_path)
    async with Sandbox() as sandbox:
        for name, value in sandbox.environment().items():
            monkeypatch.setenv(name, value)
        name = page.relative_to(ROOT).as_posix()
        await run_all(text, sandbox, tmp_path, name, seed=page != TUTORIAL)
        assert sandbox.violations == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_blocks_that_are_not_run_say_why(page: Path, text: str) -> None:
    """A skipped block has a reason, most blocks run, and the tutorial skips none."""
    skipped = [block for block in blocks(text) if block.not_run]
    assert all(len(block.not_run) > 5 for block in skipped)
    assert len(skipped) * 2 < len(blocks(text))
    assert text.count("```python") == len(blocks(text))
    assert not (skipped and page == TUTORIAL)


def test_readme_is_short() -> None:
    """README stays short: reference tables are in docs/."""
    assert len(README.read_text().splitlines()) <= 150


EXAMPLE = """\
# Title

```console
$ python nothing.py
```

<!-- not run: needs a real account -->
```python
raise SystemExit
```

```python
from sinch_qn import QualifiedNumbersClient

async with QualifiedNumbersClient.from_env() as client:
    await client.send_voice_challenge("+12025550134")
```

<!-- given:
async def hear(number: str) -> str:
    return sandbox.code_for(number)
-->
```python
code = await hear("+12025550134")
async with QualifiedNumbersClient.from_env() as client:
    number = await client.verify_voice_challenge("+12025550134", code)
```

```python
import asyncio

async def main():
    async with QualifiedNumbersClient.from_env() as client:
        return [n.phone_number async for n in client.list_numbers("GLOBAL_PROCESS_STATE_VERIFIED")]

verified = asyncio.run(main())
```
"""


async def test_examples_really_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Blocks share a namespace, may await, may have hidden set-up, and may be scripts."""
    async with Sandbox() as sandbox:
        for name, value in sandbox.environment().items():
            monkeypatch.setenv(name, value)
        namespace = await run_all(EXAMPLE, sandbox, tmp_path)
    assert namespace["verified"] == ["+12025550134"]
    assert [block.not_run for block in blocks(EXAMPLE)] == ["needs a real account", "", "", ""]


async def test_a_broken_example_is_found_with_its_line(tmp_path: Path) -> None:
    """A failing block fails the test with its line number in README."""
    text = "# Title\n\n```python\nx = 1\nraise ValueError(x)\n```\n"
    async with Sandbox() as sandbox:
        with pytest.raises(ValueError, match="1") as caught:
            await run_all(text, sandbox, tmp_path)
    assert caught.traceback[-1].lineno == 4, "counted from 0"
    assert caught.value.__notes__ == ["in the block of README.md that starts at line 4"]


async def test_a_test_in_the_readme_is_run_by_pytest(tmp_path: Path) -> None:
    """A block that contains a test runs as a test, and its failure fails the page's test."""
    text = (
        "```python\n"
        "async def test_right(sinch_client):\n    assert sinch_client\n\n"
        "def test_wrong(sinch_sandbox):\n    raise KeyError\n"
        "```\n"
    )
    async with Sandbox() as sandbox:
        with pytest.raises(AssertionError, match="1 failed, 1 passed"):
            await run_all(text, sandbox, tmp_path)
