"""Phone numbers, codes and Letters of Authorization as people write them, read strictly.

For command lines, bots and services: text in, a value or a `ValueError` with a reason to show out.
Needs the extra `sinch-qn[parsing]`, which is phonenumbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sinch_qn import _lazy_face

if TYPE_CHECKING:
    from sinch_qn.parsing.codes import InvalidCode as InvalidCode
    from sinch_qn.parsing.codes import LostZeros as LostZeros
    from sinch_qn.parsing.codes import ParsedCode as ParsedCode
    from sinch_qn.parsing.codes import parse_code as parse_code
    from sinch_qn.parsing.columns import Column as Column
    from sinch_qn.parsing.columns import ColumnError as ColumnError
    from sinch_qn.parsing.loa import InvalidLoa as InvalidLoa
    from sinch_qn.parsing.loa import parse_loa as parse_loa
    from sinch_qn.parsing.number_files import BadLine as BadLine
    from sinch_qn.parsing.number_files import GoodLine as GoodLine
    from sinch_qn.parsing.number_files import read_numbers as read_numbers
    from sinch_qn.parsing.phone_numbers import InvalidPhoneNumber as InvalidPhoneNumber
    from sinch_qn.parsing.phone_numbers import ParsedNumber as ParsedNumber
    from sinch_qn.parsing.phone_numbers import parse_phone_number as parse_phone_number
    from sinch_qn.parsing.text_files import InvalidFile as InvalidFile
    from sinch_qn.parsing.transcripts import InvalidTranscript as InvalidTranscript
    from sinch_qn.parsing.transcripts import parse_transcript as parse_transcript

_NAMES = {
    "codes": ("InvalidCode", "LostZeros", "ParsedCode", "parse_code"),
    "columns": ("Column", "ColumnError"),
    "loa": ("InvalidLoa", "parse_loa"),
    "number_files": ("BadLine", "GoodLine", "read_numbers"),
    "phone_numbers": ("InvalidPhoneNumber", "ParsedNumber", "parse_phone_number"),
    "text_files": ("InvalidFile",),
    "transcripts": ("InvalidTranscript", "parse_transcript"),
}

if not TYPE_CHECKING:  # for type checkers a misspelt name is an error
    __getattr__, __dir__, __all__ = _lazy_face.open_face(__name__, _NAMES)
