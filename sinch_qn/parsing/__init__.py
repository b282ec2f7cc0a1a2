"""Phone numbers, codes and Letters of Authorization as people write them, read strictly.

For command lines, bots and services: text in, a value or a `ValueError` with a reason to show out.
Needs the extra `sinch-qn[parsing]`, which is phonenumbers.
"""

from sinch_qn.parsing.codes import InvalidCode, LostZeros, ParsedCode, parse_code
from sinch_qn.parsing.columns import Column, ColumnError
from sinch_qn.parsing.loa import InvalidLoa, parse_loa
from sinch_qn.parsing.number_files import BadLine, GoodLine, read_numbers
from sinch_qn.parsing.phone_numbers import InvalidPhoneNumber, ParsedNumber, parse_phone_number
from sinch_qn.parsing.text_files import InvalidFile

__all__ = [
    "BadLine",
    "Column",
    "ColumnError",
    "GoodLine",
    "InvalidCode",
    "InvalidFile",
    "InvalidLoa",
    "InvalidPhoneNumber",
    "LostZeros",
    "ParsedCode",
    "ParsedNumber",
    "parse_code",
    "parse_loa",
    "parse_phone_number",
    "read_numbers",
]
