"""Check of the installed wheel by `make dist-check`: all modules import, commands run."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import sinch_qn
from sinch_qn.sandbox import Sandbox

_NOT_IMPORTED = {"sinch_qn.cli.__main__", "sinch_qn.pytest_plugin"}
"""Modules not to import: one runs the command, the other needs pytest."""


def main() -> None:
    """Import every module, run the command's help, and make one call to the sandbox."""
    assert "site-packages" in str(sinch_qn.__file__), sinch_qn.__file__
    for module in pkgutil.walk_packages(sinch_qn.__path__, "sinch_qn."):
        if module.name not in _NOT_IMPORTED:
            importlib.import_module(module.name)
    command = Path(sys.executable).with_name("sinch-qn")
    for arguments in (["--help"], ["--version"]):
        subprocess.run([command, *arguments], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    asyncio.run(_call())
    print(f"sinch-qn {sinch_qn.__version__} works as installed")  # noqa: T201


async def _call() -> None:
    async with Sandbox() as sandbox, sandbox.client() as client:
        (added,) = await client.add_numbers(["+12025550134"])
        assert added.phone_number == "+12025550134"


if __name__ == "__main__":
    main()
