"""Laws of reading a code in what was said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinch_qn.errors import InvalidRequestError
from sinch_qn.parsing import InvalidTranscript, parse_transcript
from sinch_qn.parsing.spoken_numbers import LANGUAGES

_DIGITS = {
    "en": "zero one two three four five six seven eight nine".split(),
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve".split(),
    "fr": "zéro un deux trois quatre cinq six sept huit neuf".split(),
}
_INTRODUCTIONS = {"en": "Your code is", "es": "Su código es", "fr": "Votre code est"}
_AGAIN = {"en": "I repeat", "es": "Repito", "fr": "Je répète"}
_codes = st.text("0123456789", min_size=3, max_size=8)


@given(
    code=_codes,
    language=st.sampled_from(sorted(LANGUAGES)),
    separator=st.sampled_from([" ", ", ", ". ", " - ", "… "]),
    said=st.booleans(),
)
def test_digits_said_one_by_one_are_the_code(
    code: str, language: str, separator: str, *, said: bool
) -> None:
    """Each code that is read out twice comes back, in each language, named or not."""
    spoken = separator.join(_DIGITS[language][int(digit)] for digit in code)
    text = f"{_INTRODUCTIONS[language]} {spoken}. {_AGAIN[language]}: {spoken.upper()}!"
    assert parse_transcript(text, language=language if said else None, length=len(code)) == code


@given(code=_codes, introduction=st.sampled_from(sorted(_INTRODUCTIONS.values())))
def test_a_written_number_is_the_code(code: str, introduction: str) -> None:
    """Digits that speech-to-text wrote as a number are taken as they are, zeros included."""
    assert parse_transcript(f"{introduction} {code}. {introduction} {code}.") == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("your code is four, seven, one, one", "4711"),
        ("four oh seven double two", "40722"),
        ("forty-seven eleven", "4711"),
        ("triple five o", "5550"),
        ("double 4 7", "447"),
        ("four thousand seven hundred and eleven", "4711"),
        ("I say it once: four seven one one", "4711"),
        ("4711 4711", "4711"),
        ("471 123", "471123"),
        ("Your 4 digit code: 0417", "0417"),
        ("the code, um, nine then zero and nine", "909"),
        ("su código es cuarenta y siete, once", "4711"),
        ("doble cero siete siete", "0077"),
        ("dos veces cuatro siete uno", "4471"),
        ("mil doscientos cinco", "1205"),
        ("veintidós treinta y uno", "2231"),
        ("quatre-vingt-dix-sept onze", "9711"),
        ("soixante et onze, douze", "7112"),
        ("nonante-neuf zéro", "990"),
        ("deux fois quatre, sept, un", "4471"),
        ("cent dix-huit", "118"),
        ("dix mille deux cent trois", "10203"),
    ],
)
def test_numbers_are_read_as_the_language_says_them(text: str, code: str) -> None:
    """Doubles, pairs and whole numbers are the digits that are meant."""
    assert parse_transcript(text) == code


@pytest.mark.parametrize("text", ["", "hello", "press 1 to hear it again", "forty seven", "!?"])
def test_what_has_no_code_is_refused(text: str) -> None:
    """A menu's key, an hour or a count is no code."""
    with pytest.raises(InvalidTranscript, match="has no code"):
        parse_transcript(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("4711. No, 4712.", "more than one code"),
        ("4711 4712", "more than one number"),
        ("four seven one one four seven one one", "pass the code's length"),
        ("seven two times four", "not clear: 'times'"),
        ("deux quatre fois sept", "not clear: 'fois'"),
    ],
)
def test_nothing_is_guessed(text: str, reason: str) -> None:
    """What can be read in two ways is refused with the reason, and no digit of it is shown."""
    with pytest.raises(InvalidTranscript, match=reason) as caught:
        parse_transcript(text)
    assert not any(character.isdigit() for character in str(caught.value))


def test_the_length_tells_what_is_the_code() -> None:
    """With the code's length, repetitions and other numbers leave one code."""
    twice = "four seven one one four seven one one"
    assert parse_transcript(twice, length=4) == "4711"
    assert parse_transcript(twice, length=8) == "47114711"
    assert parse_transcript("for 202 555 0134 it is 4711", length=4) == "4711"
    with pytest.raises(InvalidRequestError, match="length"):
        parse_transcript(twice, length=0)


def test_an_unknown_language_is_refused() -> None:
    """Regions of a language are its own; another language is named in the error."""
    assert parse_transcript("quatre sept un", language="fr-CA") == "471"
    with pytest.raises(InvalidTranscript, match="expected one of en, es, fr, not 'de'"):
        parse_transcript("vier sieben eins", language="de")


@given(st.text(max_size=200) | st.text("un deux quatre vingt et fois 47.,-", max_size=200))
def test_no_text_breaks_it(text: str) -> None:
    """Any text has one code of digits, or an `InvalidTranscript`."""
    try:
        code = parse_transcript(text)
    except InvalidTranscript:
        return
    assert code.isascii()
    assert code.isdigit()


def test_a_text_without_end_is_refused() -> None:
    """A transcript is as long as a call's: more is refused before it is read."""
    with pytest.raises(InvalidTranscript, match="more than 10000 characters"):
        parse_transcript("one " * 2501)
