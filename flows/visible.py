"""Text of which everything can be seen: whatever others wrote stays words on a terminal, in a log, in a file that is
read as text. Pure."""

from __future__ import annotations

import re
from typing import Final

REVERSED: Final = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""What makes a line read otherwise than it is, as the inside of a regular expression's brackets."""

_LIVE = re.compile(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff{REVERSED}]")
_LIVE_IN_A_LINE = re.compile(rf"[\t\n]|{_LIVE.pattern}")


def spelled(text: str) -> str:
    r"""The text with everything spelled out that a terminal would obey – escape sequences, CR, BEL, reversed writing,
    foreign line breaks – or could not print: halves of characters. Line breaks and tabs stay. What is JSON stays JSON
    of the same value.

    >>> print(spelled("a\x1b[2J\u202eb"))
    a\u001b[2J\u202eb
    """
    return _LIVE.sub(_code, text)


def spelled_line(text: str) -> str:
    r"""As `spelled`, for what must not begin another line.

    >>> print(spelled_line("a\nb"))
    a\u000ab
    """
    return _LIVE_IN_A_LINE.sub(_code, text)


def _code(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
