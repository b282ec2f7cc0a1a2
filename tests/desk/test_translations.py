"""The texts of people's pages: complete in each language, and the right one for each reader."""

from __future__ import annotations

import re
import string

import pytest

from sinch_qn.desk.pages import fragment
from sinch_qn.desk.person_cards import Situation
from sinch_qn.desk.translations import DEFAULT, LANGUAGES, Language, choose_language

LATER = 1_795_755_600.0  # 2026-11-27, 05:00 UTC
_CLOCK = {"hour12", "hour24", "minute", "half"}


def placeholders(text: str) -> set[str]:
    """Return the names in braces."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=lambda each: each.tag)
def test_no_text_is_missing(language: Language) -> None:
    """Each language has each text of English, with the same placeholders, and no others."""
    assert list(language.texts) == list(DEFAULT.texts)
    for key, text in language.texts.items():
        assert text.strip() == text != "", key
        allowed = _CLOCK if key == "clock" else placeholders(DEFAULT.texts[key])
        assert placeholders(text) == (placeholders(text) & _CLOCK if key == "clock" else allowed)
    assert len(language.texts["days"].split("|")) == 7
    assert len(language.texts["halves"].split("|")) == 2


@pytest.mark.parametrize("language", LANGUAGES.values(), ids=lambda each: each.tag)
def test_a_text_names_buttons_as_they_are_labelled(language: Language) -> None:
    """Where a text quotes a button, its words are those of the button."""
    buttons = {language(key) for key in ("call_now", "call_again", "verify")}
    for key, text in language.texts.items():
        for quoted in re.findall(r"[“«]\s*([^”»]*?)\s*[”»]", text):
            assert quoted in buttons, key


def test_every_situation_has_its_texts() -> None:
    """Each situation of a number has a headline and a text."""
    for situation in Situation:
        assert {situation.value, f"{situation.value}_text"} <= set(DEFAULT.texts)


def test_languages_differ() -> None:
    """No text was left in English, except where the words are the same."""
    same = {"code", "clock", "halves", "moment", "day_moment", "minutes"}
    for language in LANGUAGES.values():
        if language is not DEFAULT:
            left = {key for key, text in language.texts.items() if text == DEFAULT.texts[key]}
            assert left <= same


@pytest.mark.parametrize(
    ("header", "tag"),
    [
        (None, "en"),
        ("", "en"),
        ("es", "es"),
        ("es-MX", "es"),
        ("fr", "fr-CA"),
        ("fr-FR, en;q=0.9", "fr-CA"),
        ("en;q=0.5, es;q=0.9", "es"),
        ("de, fr;q=0.2, *;q=0.1", "fr-CA"),
        ("de, *;q=0.9, es;q=0.1", "en"),
        ("fr;q=0, es;q=0.001", "es"),
        ("FR-ca", "fr-CA"),
        ("xx, ;;q=, es;q=2, fr ; q = 0.3", "fr-CA"),
        ("es" * 5000, "en"),
        (", " * 400 + "es", "es"),
    ],
)
def test_the_reader_chooses_the_language(header: str | None, tag: str) -> None:
    """`Accept-Language` is read with its weights; what is not understood is ignored."""
    assert choose_language(None, header).tag == tag
    assert choose_language("es", header).tag == "es"
    assert choose_language("nonsense", header).tag == tag


def test_times_are_those_of_the_phone() -> None:
    """A time is shown as a clock beside the phone shows it, with the day if it is another one."""
    seen = {
        tag: (
            language.moment(LATER, LATER + 60.0, "America/New_York"),
            language.moment(LATER, LATER - 7200.0, "America/New_York"),
        )
        for tag, language in LANGUAGES.items()
    }
    assert {tag: [each.replace("\u00a0", " ") for each in both] for tag, both in seen.items()} == {
        "en": ["12:00 am (EST)", "12:00 am on Friday (EST)"],
        "es": ["12:00 a. m. (EST)", "viernes, 12:00 a. m. (EST)"],
        "fr-CA": ["0 h 00 (EST)", "vendredi, 0 h 00 (EST)"],
    }


def test_texts_are_escaped() -> None:
    """What is filled into a page cannot become markup."""
    values = {"root": "", "lang": "en", "t": DEFAULT, "languages": (), "query": "", "token": "x"}
    page = fragment("person_message.html", **values, title="<b>", text='"><script>')
    assert "<script>" not in page.replace('<script src="/static/desk.js" defer>', "")
    assert "&lt;b&gt;" in page
