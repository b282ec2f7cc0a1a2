"""Codes as speech-to-text writes them: "your code is four, seven, one, one"."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import attrs

from sinch_qn._checks import check_whole
from sinch_qn.parsing.spoken_numbers import LANGUAGES, MAX_WORDS, Language

_MIN_LENGTH: Final = 3
"""Digits that are taken for a code; fewer are a count, an hour, a menu's key."""

_MAX_TRANSCRIPT: Final = 10_000
"""Characters of a transcript."""

_TOKEN: Final = re.compile(r"(?P<digits>[0-9]+)|(?P<word>[a-z]+)|(?P<end>[.;:!?\n…])|(?P<pause>,)")


class InvalidTranscript(ValueError):  # noqa: N818 - named as `InvalidCode` is
    """The text does not contain exactly one code."""


def parse_transcript(text: str, *, language: str | None = None, length: int | None = None) -> str:
    """Return the code in what a person or a machine said, as speech-to-text wrote it.

    Examples:
        >>> parse_transcript("Your code is four, seven, double one. I repeat: 4 7 1 1.")
        '4711'

    *language* is `en`, `es` or `fr`, also as `fr-CA`; by default each is tried. *length* is the
    number of digits, if it is known: shorter and longer numbers in *text* are then ignored.
    Nothing is guessed, because a wrong code costs a try: raises `InvalidTranscript`, which never
    shows the code, if there is none, or more than one, or if the text can be read in two ways.
    """
    if length is not None:
        check_whole(length, "length")
    if len(text) > _MAX_TRANSCRIPT:
        raise InvalidTranscript(f"the transcript has more than {_MAX_TRANSCRIPT} characters")
    readings = {}
    problem: InvalidTranscript | None = None
    for name in _languages(language):
        try:
            readings[name] = _read(text, LANGUAGES[name], length)
        except InvalidTranscript as error:
            # What a language finds ambiguous says more than that another finds nothing.
            problem = error if problem is None or not isinstance(error, _NoCode) else problem
    if problem is not None and not isinstance(problem, _NoCode):
        raise problem
    if len(set(readings.values())) > 1:
        raise InvalidTranscript(
            "the transcript can be read in more than one language: pass the language"
        )
    if not readings:
        raise problem or _NoCode("the transcript has no code")
    return next(iter(readings.values()))


class _NoCode(InvalidTranscript):
    pass


def _languages(language: str | None) -> Iterable[str]:
    if language is None:
        return LANGUAGES
    name = language.replace("_", "-").partition("-")[0].lower()
    if name not in LANGUAGES:
        raise InvalidTranscript(
            f"language: expected one of {', '.join(LANGUAGES)}, not {language[:20]!r}"
        )
    return [name]


class _Token(NamedTuple):
    kind: str
    text: str


@attrs.define
class _Run:
    """Digits with nothing but pauses between them, by the sentences that they are in."""

    sentences: list[list[str]] = attrs.field(factory=lambda: [[]])
    """The numbers of each sentence, as digits."""

    def add(self, number: str) -> None:
        last = self.sentences[-1]
        if len(number) >= _MIN_LENGTH and last and last[-1] == number:
            self.end_sentence()  # "4711 4711" says it twice
        self.sentences[-1].append(number)

    def end_sentence(self) -> None:
        if self.sentences[-1]:
            self.sentences.append([])

    @property
    def texts(self) -> list[str]:
        return ["".join(numbers) for numbers in self.sentences if numbers]

    def codes(self, length: int | None) -> set[str]:
        """Return what may be the code; raises `InvalidTranscript` if that is open."""
        texts = self.texts
        whole = "".join(texts)
        if length is not None:
            said = {whole, *texts, *(part for text in texts for part in _repeated(text))}
            return {each for each in said if len(each) == length}
        if len(whole) < _MIN_LENGTH:
            return set()
        if len(texts) > 1 and all(len(text) >= _MIN_LENGTH for text in texts):
            return set(texts)
        words = [number for numbers in self.sentences for number in numbers]
        if len(words) > 1 and _repeated(whole):
            raise InvalidTranscript(
                "the transcript repeats its digits without a pause: pass the code's length"
            )
        if len([word for word in words if len(word) > _MIN_LENGTH]) > 1:
            raise InvalidTranscript(
                "the transcript has more than one number: pass the code's length"
            )
        return {whole}


def _repeated(text: str) -> list[str]:
    """Return what *text* consists of, said twice or three times."""
    parts = [text[: len(text) // times] for times in (2, 3) if len(text) % times == 0]
    return [
        part
        for part in parts
        if len(part) >= _MIN_LENGTH and part * (len(text) // len(part)) == text
    ]


def _read(text: str, language: Language, length: int | None) -> str:
    codes = {code for run in _runs(list(_tokens(text)), language) for code in run.codes(length)}
    if not codes:
        raise _NoCode("the transcript has no code")
    if len(codes) > 1:
        raise InvalidTranscript("the transcript has more than one code: which one is not clear")
    return codes.pop()


def _tokens(text: str) -> Iterator[_Token]:
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(each for each in plain if not unicodedata.combining(each))
    for match in _TOKEN.finditer(plain):
        yield _Token(match.lastgroup or "", match[0])


def _runs(tokens: Sequence[_Token], language: Language) -> Iterator[_Run]:
    run = _Run()
    at = 0
    while at < len(tokens):
        kind, text = tokens[at]
        if kind == "end":
            run.end_sentence()
        number, words = _number_at(tokens, at, language)
        if number:
            run.add(number)
        elif kind == "word" and text in language.unclear:
            raise InvalidTranscript(f"what the transcript repeats is not clear: {text!r}")
        elif kind == "word" and text not in language.fillers:
            yield run
            run = _Run()
        at += words or 1
    yield run


def _number_at(tokens: Sequence[_Token], start: int, language: Language) -> tuple[str, int]:
    """Return the digits that begin at *start*, and how many tokens they are; or "" and 0."""
    if start < len(tokens) and tokens[start].kind == "digits":
        return tokens[start].text, 1
    words = _words_from(tokens, start)
    times, counted = language.times(words)
    if counted:
        number, more = _number_at(tokens, start + counted, language)
        return (number * times, counted + more) if len(number) == 1 else ("", 0)
    return language.read(words)


def _words_from(tokens: Sequence[_Token], start: int) -> list[str]:
    """Return the words from *start* on, up to a pause; more than a number can have."""
    words: list[str] = []
    for kind, text in tokens[start : start + MAX_WORDS]:
        if kind != "word":
            break
        words.append(text)
    return words
