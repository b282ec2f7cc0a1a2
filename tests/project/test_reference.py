"""The pages of the Python API contain the docstrings of all public names."""

from __future__ import annotations

from pathlib import Path

import pytest

import sinch_qn
from codegen.reference import PAGES, reference_pages
from sinch_qn import bulk, models, parsing

ROOT = Path(__file__).parents[2]
CLIENT, BULK, *_, PARSING = PAGES

PACKAGE = {
    "sinch_qn/__init__.py": "from sinch_qn.made import Kind, Thing, make\n",
    "sinch_qn/made.py": '''
class Kind(enum.Enum):
    GOOD = "good"
    """As it should be."""

@attrs.frozen
class Thing:
    """A thing."""
    name: str
    """Its name,
    in one line."""
    size: int = attrs.field(default=1, repr=False)
    _hidden: int = 2

class Maker:
    def __init__(self, *, kind: Kind) -> None:  # noqa: X1 - why
        """Take the parts."""
        self.kind = kind
        """What it makes."""

    def make(
        self,
        name: str,  # type: ignore[y]
    ) -> Thing:
        """Make a thing."""

    def _help(self) -> None:
        """Help."""

def make(name: str) -> Thing:
    """Make a thing.

    >>> make("a")
    Thing(name='a')
    """
''',
}


def page_of(module: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the page of a module of PACKAGE."""
    monkeypatch.setattr("codegen.reference.PAGES", {CLIENT: ("Things", {module: ("*",)})})

    def read(path: Path) -> str:
        try:
            return PACKAGE[path.as_posix()]
        except KeyError:
            raise FileNotFoundError from None

    return reference_pages(read)[CLIENT]


def test_every_public_name_is_described() -> None:
    """Each name that a package exports has a heading on the package's page."""
    pages = reference_pages(lambda path: (ROOT / path).read_text(encoding="utf-8"))
    described = {path: set(page.splitlines()) for path, page in pages.items()}
    # The converter and aliases of types are values: guides describe them.
    elsewhere = {"errors", "models", "__version__", "converter", "RetryRule", "EventName"}
    top = {name for name in vars(sinch_qn)["__all__"] if name not in elsewhere}
    top = {f"models.{name}" if hasattr(models, name) else name for name in top}
    assert {f"### {name}" for name in top} <= described[CLIENT]
    assert {f"### {name}" for name in set(vars(bulk)["__all__"]) - elsewhere} <= described[BULK]
    assert {f"### {name}" for name in vars(parsing)["__all__"]} <= described[PARSING]


def test_a_package_describes_what_it_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is described under the package it is imported from, with fields and doctests."""
    page = page_of("sinch_qn", monkeypatch)
    assert "[Kind](#kind) · [Thing](#thing) · [make](#make)" in page
    assert "- `GOOD = 'good'`: As it should be." in page
    assert "- `name: str`: Its name, in one line.\n- `size: int = 1`\n" in page
    assert "```python\ndef make(name: str) -> Thing\n```\n\nMake a thing.\n\n    >>> make" in page
    assert "Maker" not in page
    assert "_hidden" not in page


def test_a_class_is_described_as_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signatures are unchanged, except for `self` and comments for linters."""
    page = page_of("sinch_qn.made", monkeypatch)
    assert "```python\nMaker(*, kind: Kind)\n```\n\nTake the parts.\n\n- `kind`: What it" in page
    assert "#### Maker.make\n\n```python\ndef make(\n    name: str,\n) -> Thing\n```" in page
    assert "_help" not in page
    assert "### made.Kind" in page
