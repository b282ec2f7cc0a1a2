"""The documentation site builds without a warning, offline, with every page, link and name."""

from __future__ import annotations

import re
import subprocess
import sys
import zlib
from functools import cache
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

import attrs
import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SITE = ROOT / "build" / "site"
FACES = (
    *("sinch_qn", "sinch_qn.bulk", "sinch_qn.desk", "sinch_qn.parsing", "sinch_qn.resources"),
    "sinch_qn.sandbox",
)
_LOADS = {"script": "src", "img": "src", "link": "href", "source": "src", "iframe": "src"}
"""The attribute with which each tag loads something."""


@attrs.define
class Page(HTMLParser):
    """The ids, links and loaded files of a built page."""

    path: Path
    ids: set[str] = attrs.field(factory=set)
    links: list[str] = attrs.field(factory=list)
    loads: list[str] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        HTMLParser.__init__(self)
        self.feed(self.path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note what the tag names."""
        found = {name: value for name, value in attributes if value}
        self.ids |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if _LOADS.get(tag, "") in found and found.get("rel") != "canonical":
            self.loads.append(found[_LOADS[tag]])


@cache
def page(path: Path) -> Page:
    """Return a built page."""
    return Page(path)


@pytest.fixture(scope="module", autouse=True)
def site() -> Path:
    """Build the site as `make docs` does."""
    command = (sys.executable, "-m", "zensical", "build", "--strict", "--clean")
    built = subprocess.run(  # noqa: S603 - our own command
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert "Warning" not in built.stdout + built.stderr
    return SITE


def pages() -> list[Page]:
    """Return all built pages."""
    return [page(path) for path in sorted(SITE.rglob("*.html")) if path.name != "404.html"]


def test_every_page_is_built_and_can_be_searched() -> None:
    """Each Markdown file of docs/ is a page, in the navigation and in the search."""
    written = {path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")}
    assert written == {built.path.relative_to(SITE) for built in pages()}
    home = page(SITE / "index.html").links
    search = (SITE / "search.json").read_text(encoding="utf-8")
    missing = {path for path in map(Path.as_posix, written) if path not in search}
    assert not missing, "not in the search"
    shown = {
        (SITE / urlsplit(link).path).resolve().relative_to(SITE) for link in home if ":" not in link
    }
    assert written <= shown, "not in the navigation: add it to mkdocs.yml"


def test_no_link_is_dead() -> None:
    """A link within the site leads to a file, and its anchor to an element there."""
    dead = []
    for built in pages():
        for link in built.links:
            address = urlsplit(link)
            if address.scheme:
                continue
            target = (built.path.parent / unquote(address.path)).resolve()
            target = built.path if not address.path else target
            anchor = unquote(address.fragment)
            if not target.is_file() or (anchor and anchor not in page(target).ids):
                dead.append(f"{built.path.relative_to(SITE)}: {link}")
    assert not dead


def test_nothing_is_loaded_from_another_host() -> None:
    """Pages, style sheets and scripts load only what is in the site."""
    for built in pages():
        for load in built.loads:
            assert not urlsplit(load).netloc, f"{built.path.name} loads {load}"
            assert (built.path.parent / urlsplit(load).path).is_file(), f"{built.path.name}: {load}"
    for sheet in SITE.rglob("*.css"):
        assert not re.search(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", sheet.read_text()), sheet


def test_every_public_name_has_its_place() -> None:
    """Each name that a package exports is in the inventory, for links from other sites, too."""
    packed = (SITE / "objects.inv").read_bytes().split(b"\n", 4)[4]
    listed = {line.split()[0] for line in zlib.decompress(packed).decode().splitlines()}
    missing = []
    for face in FACES:
        for name in import_module(face).__all__:
            value = getattr(import_module(face), name)
            home = getattr(value, "__module__", face)
            places = {face + "." + name, f"{home}.{name}", getattr(value, "__name__", "")}
            if name != "__version__" and not places & listed:
                missing.append(f"{face}.{name}")
    assert not missing, "add a line `::: name` to its page in docs/reference/"


def test_every_example_is_on_its_page() -> None:
    """The page of examples includes each program of examples/."""
    text = (DOCS / "guides" / "examples.md").read_text(encoding="utf-8")
    names = {path.relative_to(ROOT).as_posix() for path in (ROOT / "examples").glob("*.py")}
    assert names == set(re.findall(r'--8<-- "([^"]+)"', text))
