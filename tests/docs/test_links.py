"""Links and names in the repository's Markdown lead to existing files and headings."""

from __future__ import annotations

import os
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_ELSEWHERE = {"build", "dist", "node_modules"}

_FENCED = re.compile(r"^```.*?^```[ \t]*$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
_SOURCE = re.compile(r"`([\w./-]+\.(?:py|yaml))`")
_HEADING = re.compile(r"^#{1,6} +(.*?) *#*$", re.MULTILINE)


@cache
def files() -> list[Path]:
    """Return every file of the repository, except built and hidden ones."""
    found = []
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = [n for n in subfolders if n not in _ELSEWHERE and not n.startswith(".")]
        found += [Path(folder, name) for name in names]
    return sorted(found)


def pages() -> list[Path]:
    """Return every Markdown file of the repository."""
    return [path for path in files() if path.suffix == ".md"]


def prose(text: str) -> str:
    """Return *text* without fenced code and comments, which contain no links or headings."""
    return _COMMENT.sub("", _FENCED.sub("", text))


def links(text: str) -> list[str]:
    """Return the targets of the links in a Markdown *text*."""
    found = _LINK.findall(_CODE.sub("", prose(text)))
    return [inline or reference for inline, reference in found]


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a Markdown *text*."""
    found, seen = set(), Counter[str]()
    for heading in _HEADING.findall(prose(text)):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


@cache
def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page."""
    return anchors(page.read_text(encoding="utf-8"))


def is_relative(link: str) -> bool:
    """Whether *link* stays in the repository."""
    return re.match(r"[a-z][a-z0-9+.-]*:", link) is None


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(page: Path) -> None:
    """A relative link leads to a file of the repository, and its anchor to a heading there."""
    for link in filter(is_relative, links(page.read_text(encoding="utf-8"))):
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.is_relative_to(ROOT), link
        assert path.exists(), link
        if anchor:
            assert path.suffix == ".md", link
            assert anchor in anchors_of(path), link


def test_pages_of_the_site_link_to_nothing_outside() -> None:
    """A page below docs/, and the changelog that one includes, has no link out of docs/."""
    docs = ROOT / "docs"
    for page in [*docs.rglob("*.md"), ROOT / "CHANGELOG.md"]:
        for link in filter(is_relative, links(page.read_text(encoding="utf-8"))):
            ends = {page, (page.parent / link).resolve()}
            outside = [end for end in ends if not end.is_relative_to(docs)]
            assert not outside, f"{page.name}: name {link}, without a link"


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_named_source_files_exist(page: Path) -> None:
    """A source file that a page names exists below one of its folders."""
    named = _SOURCE.findall(prose(page.read_text(encoding="utf-8")))
    missing = {name for name in named if not any(f"/{f}".endswith(f"/{name}") for f in files())}
    assert not missing


def test_links_and_anchors_are_found() -> None:
    """Code has no links; anchors are GitHub's, also for repeated headings."""
    text = (
        "# Bulk runs\n[a](b.md#c) ![p](d.svg) `[no](e.md)` [r]\n\n```\n# no\n[no](f.md)\n```\n"
        "## `status` 429, and why?\n## At-most-once\n## Bulk runs\n<!-- [no](g.md) -->\n[r]: h.md\n"
    )
    assert links(text) == ["b.md#c", "d.svg", "h.md"]
    assert anchors(text) == {"bulk-runs", "status-429-and-why", "at-most-once", "bulk-runs-1"}
    assert [link for link in ("a.md", "#b", "https://c", "mailto:d") if is_relative(link)] == [
        "a.md",
        "#b",
    ]
