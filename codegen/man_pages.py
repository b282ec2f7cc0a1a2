"""Write a man page for each command: `python -m codegen.man_pages build/man/man1`.

The pages come from click, as `--help` does, with the exit codes of docs/reference/cli.md.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from sinch_qn._version import __version__
from sinch_qn.cli.app import SECTIONS, cli

EXIT_STATUS = re.findall(
    r"^\| (\d+) \| ([^|]*) \|",
    Path(__file__).parents[1].joinpath("docs/reference/cli.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)
"""The exit codes and when they are returned, as the reference has them."""


def man_pages() -> dict[str, str]:
    """Return the text of each page by its file name."""
    return dict(_pages(cli, click.Context(cli, info_name="sinch-qn")))


def _pages(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    name = context.command_path.replace(" ", "-")
    yield f"{name}.1", "\n".join(_page(command, context, name)) + "\n"
    for member, below in _members(command, context):
        yield from _pages(below, click.Context(below, context, info_name=member))


def _members(command: click.Command, context: click.Context) -> list[tuple[str, click.Command]]:
    """Return the commands of a group by name."""
    names = command.list_commands(context) if isinstance(command, click.Group) else []
    found = {n: command.get_command(context, n) for n in names if isinstance(command, click.Group)}
    return [(name, member) for name, member in found.items() if member is not None]


def _page(command: click.Command, context: click.Context, name: str) -> Iterator[str]:
    first, _, rest = inspect.cleandoc(command.help or "").partition("\n")
    yield f'.TH "{name.upper()}" "1" "" "sinch_qn {__version__}" "sinch\\-qn manual"'
    yield f".SH NAME\n{_text(name)} \\- {_text(first)}"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f".SH SYNOPSIS\n\\fB{_text(context.command_path)}\\fR {_text(usage)}"
    yield ".SH DESCRIPTION\n" + "\n.PP\n".join(map(_text, f"{first}\n{rest}".split("\n\n")))
    yield ".SH OPTIONS"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and isinstance(parameter, click.Option):
            yield f".TP\n\\fB{_text(record[0])}\\fR\n{_text(record[1])}"
    members = dict(_members(command, context))
    sections = SECTIONS if command is cli else {"": " ".join(members)}
    if members:
        yield ".SH COMMANDS"
    for title, names in sections.items():
        if title:
            yield f".SS {_text(title)}"
        for member in names.split():
            if member in members:
                line = inspect.cleandoc(members[member].help or "").partition("\n")[0]
                yield f".TP\n\\fB{_text(member)}\\fR\n{_text(line)}"
    examples = (command.epilog or "").partition("Examples:\n")[2]
    if examples:
        yield ".SH EXAMPLES\n.nf\n" + "\n".join(map(_text, examples.splitlines())) + "\n.fi"
    yield ".SH EXIT STATUS"
    for code, meaning in EXIT_STATUS:
        yield f".TP\n{code}\n{_text(meaning.replace('**', ''))}"


def _text(text: str) -> str:
    """Return *text* as roff: what is special there is escaped."""
    escaped = text.strip().replace("\\", "\\e").replace("-", "\\-").replace("\b", "")
    plain = re.sub(r"[^\0-\x7f]", lambda match: rf"\[u{ord(match[0]):04X}]", escaped)
    return re.sub(r"^([.'])", r"\\&\1", plain, flags=re.MULTILINE)


def main(folder: Path) -> int:
    """Write the pages into *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = man_pages()
    for name, page in pages.items():
        folder.joinpath(name).write_text(page, encoding="utf-8")
    print(f"wrote {len(pages)} pages; read one: man {folder / 'sinch-qn.1'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
