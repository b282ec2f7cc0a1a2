"""Numbers as they are spoken in English, Spanish and French; accents are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

MAX_WORDS: Final = 16
"""Words that a number has at most: "quatre cent quatre vingt dix sept mille …"."""


def _values(words: str, first: int = 0, step: int = 1) -> dict[str, int]:
    """Return the value of each word: *first*, and *step* more for each next one."""
    return {word: first + step * place for place, word in enumerate(words.split())}


@attrs.frozen(kw_only=True)
class Language:
    """The words of a language for digits and numbers."""

    digits: Mapping[str, int]
    teens: Mapping[str, int]
    """10 to 19, and other words below 100 that take no unit after them."""
    tens: Mapping[str, int]
    hundreds: Mapping[str, int]
    """100 and its like: after a digit, or alone."""
    thousand: str
    joins: frozenset[str] = frozenset()
    """Words between a ten, or a hundred, and the rest."""
    joins_all_units: bool = True
    """Whether tens and units are joined without a word between them."""
    teens_after: frozenset[int] = frozenset()
    """Tens that teens are added to: 60 and 12 is 72."""
    pairs: Mapping[tuple[str, str], int] = attrs.field(factory=dict)
    """Two words for a ten or a teen."""
    multipliers: Mapping[str, int]
    """Words before a digit that is said several times."""
    counted: frozenset[str]
    """What makes a multiplier of a number before it."""
    unclear: frozenset[str]
    """Words of repetition that are not read."""
    fillers: frozenset[str]
    """Words between digits that mean nothing."""

    def times(self, words: Sequence[str]) -> tuple[int, int]:
        """Return how often the digit after *words* is said, and how many words say so; or 1, 0."""
        if words and words[0] in self.multipliers:
            return self.multipliers[words[0]], 1
        if len(words) > 1 and words[1] in self.counted and self.digits.get(words[0]) in (2, 3):
            return self.digits[words[0]], 2
        return 1, 0

    def read(self, words: Sequence[str]) -> tuple[str, int]:
        """Return the digits of the number that *words* begin with, and its words; or "" and 0.

        Digits that are said one after another are numbers of their own: the first is returned.
        """
        value, used = self._below_1000(words)
        if not used and words and words[0] == self.thousand:
            value = 1
        elif not value or words[used : used + 1] != [self.thousand]:
            return (str(value), used) if used else ("", 0)
        used += 1
        rest, more = self._below_1000(self._unjoined(words[used:]))
        joined = len(words[used:]) - len(self._unjoined(words[used:])) if more else 0
        return str(value * 1000 + rest), used + joined + more

    def _below_1000(self, words: Sequence[str]) -> tuple[int, int]:
        value, used = self._below_100(words)
        hundred = self.hundreds.get(words[used]) if used < len(words) else None
        if hundred is None or (used and (not value or hundred != 100)):
            return value, used
        value, used = (value or 1) * hundred, used + 1
        rest = self._unjoined(words[used:])
        below, more = self._below_100(rest)
        if not below:
            return value, used
        return value + below, used + len(words[used:]) - len(rest) + more

    def _below_100(self, words: Sequence[str]) -> tuple[int, int]:
        if not words:
            return 0, 0
        ten, used = self._ten(words)
        if not used:
            simple = self.digits.get(words[0], self.teens.get(words[0]))
            return (0, 0) if simple is None else (simple, 1)
        if ten % 10:
            return ten, used
        rest = self._unjoined(words[used:])
        joined = len(words[used:]) - len(rest)
        unit = self.digits.get(rest[0], 0) if rest else 0
        if unit and (joined or self.joins_all_units):
            return ten + unit, used + joined + 1
        if rest and ten in self.teens_after:
            teen, more = self._teen(rest)
            if more:
                return ten + teen, used + joined + more
        return ten, used

    def _ten(self, words: Sequence[str]) -> tuple[int, int]:
        pair = self.pairs.get((words[0], words[1])) if len(words) > 1 else None
        if pair is not None:
            return pair, 2
        ten = self.tens.get(words[0])
        return (0, 0) if ten is None else (ten, 1)

    def _teen(self, words: Sequence[str]) -> tuple[int, int]:
        pair = self.pairs.get((words[0], words[1])) if len(words) > 1 else None
        if pair is not None and pair < 20:
            return pair, 2
        teen = self.teens.get(words[0])
        return (0, 0) if teen is None else (teen, 1)

    def _unjoined(self, words: Sequence[str]) -> Sequence[str]:
        return words[1:] if words and words[0] in self.joins else words


_ENGLISH = Language(
    digits=_values("zero one two three four five six seven eight nine")
    | {"oh": 0, "o": 0, "nought": 0, "niner": 9},
    teens=_values(
        "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen", 10
    ),
    tens=_values("twenty thirty forty fifty sixty seventy eighty ninety", 20, 10) | {"fourty": 40},
    hundreds={"hundred": 100},
    thousand="thousand",
    joins=frozenset({"and"}),
    multipliers={"double": 2, "triple": 3},
    counted=frozenset(),
    unclear=frozenset({"times", "twice", "thrice"}),
    fillers=frozenset("and then uh um er dash hyphen comma space".split()),
)
_SPANISH = Language(
    digits=_values("cero uno dos tres cuatro cinco seis siete ocho nueve") | {"un": 1, "una": 1},
    teens=_values(
        "diez once doce trece catorce quince dieciseis diecisiete dieciocho diecinueve veinte"
        " veintiuno veintidos veintitres veinticuatro veinticinco veintiseis veintisiete"
        " veintiocho veintinueve",
        10,
    )
    | {"veintiun": 21},
    tens=_values("treinta cuarenta cincuenta sesenta setenta ochenta noventa", 30, 10),
    hundreds={"cien": 100, "ciento": 100}
    | _values(
        "doscientos trescientos cuatrocientos quinientos seiscientos setecientos ochocientos"
        " novecientos",
        200,
        100,
    ),
    thousand="mil",
    joins=frozenset({"y"}),
    joins_all_units=False,
    multipliers={"doble": 2, "triple": 3},
    counted=frozenset({"veces"}),
    unclear=frozenset({"vez", "veces"}),
    fillers=frozenset("y luego despues eh guion coma espacio el".split()),
)
_FRENCH_TEENS = _values("dix onze douze treize quatorze quinze seize", 10)
_FRENCH = Language(
    digits=_values("zero un deux trois quatre cinq six sept huit neuf") | {"une": 1},
    teens=_FRENCH_TEENS,
    tens=_values("vingt trente quarante cinquante soixante", 20, 10)
    | {"septante": 70, "huitante": 80, "octante": 80, "nonante": 90},
    hundreds={"cent": 100, "cents": 100},
    thousand="mille",
    joins=frozenset({"et"}),
    teens_after=frozenset({60, 80}),
    pairs={
        ("dix", "sept"): 17,
        ("dix", "huit"): 18,
        ("dix", "neuf"): 19,
        ("quatre", "vingt"): 80,
        ("quatre", "vingts"): 80,
    },
    multipliers={"double": 2, "triple": 3},
    counted=frozenset({"fois"}),
    unclear=frozenset({"fois"}),
    fillers=frozenset("et puis euh tiret virgule espace le".split()),
)

LANGUAGES: Final[Mapping[str, Language]] = {"en": _ENGLISH, "es": _SPANISH, "fr": _FRENCH}
