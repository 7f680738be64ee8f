"""Raw answers to codes: what is valid, what is missing, what is neither. Nothing is guessed and nothing is
imputed.

Source: docs/metrics.md ("What counts as an answer").
"""

from __future__ import annotations

import math
import numbers
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["valid", "missing", "invalid"]

_SKIPS = frozenset({"skip", "スキップ", "回答しない", "わからない", "該当なし", "n/a"})
_EMPTY = frozenset({"", "none", "nan"})
_BETWEEN = re.compile("[;,、]")
_INTEGER = re.compile(r"[+-]?\d+(\.0+)?点?")
_YES = frozenset({"はい", "yes", "y", "true", "1"})
_NO = frozenset({"いいえ", "no", "n", "false", "0"})
_LONGEST_NUMBER = 30  # longer digit strings are out of any scale; int() would refuse thousands of digits
_LARGEST_AMOUNT = 1e15
"""More is a slip of a keyboard or a tool. Of what lies below, no sum and no square is ever infinite."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """What one raw value came to: codes are there only when it is valid."""

    kind: Kind
    code: int | None = None
    codes: tuple[str, ...] = ()
    """Selected codes of a multi-select; () together with "valid" is "nothing selected"."""
    reason: str = ""
    """"dk" for a missing 「わからない」, else ""."""
    invalid_codes: int = 0
    """Unknown codes of a multi-select that were dropped."""


_MISSING = Parsed("missing")
_INVALID = Parsed("invalid")


def _normalised(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip()


def _missing_word(text: str) -> Parsed | None:
    folded = text.casefold()
    if folded in _EMPTY:
        return _MISSING
    if folded in _SKIPS:
        return Parsed("missing", reason="dk") if text == "わからない" else _MISSING
    return None


def parse_scale(value: object, low: int, high: int) -> Parsed:
    """The code of an answer to a numeric scale low…high.

    >>> parse_scale("９点", 0, 10).code
    9
    >>> parse_scale("7.5", 0, 10).kind
    'invalid'
    """
    if value is None:
        return _MISSING
    if isinstance(value, str):
        text = _normalised(value)
        if (missing := _missing_word(text)) is not None:
            return missing
        if len(text) > _LONGEST_NUMBER or not _INTEGER.fullmatch(text):
            return _INVALID
        code = int(text.removesuffix("点").split(".")[0])
        return Parsed("valid", code=code) if low <= code <= high else _INVALID
    if _is_bool(value):
        return _INVALID  # a yes/no answer is never a 0 or a 1 of a scale
    if isinstance(value, numbers.Real):
        number = float(value)
        if math.isnan(number):
            return _MISSING
        if not math.isfinite(number) or number != math.floor(number) or not low <= number <= high:
            return _INVALID
        return Parsed("valid", code=int(number))
    return _INVALID


def _is_bool(value: object) -> bool:
    # numpy's bool is no subclass of bool, and importing numpy for a type check alone is not worth it
    return isinstance(value, bool) or type(value).__name__ in {"bool_", "bool"}


def parse_yes_no(value: object) -> Parsed:
    """1 for yes, 0 for no."""
    if value is None:
        return _MISSING
    if _is_bool(value):
        return Parsed("valid", code=1 if value else 0)
    if isinstance(value, numbers.Real):
        number = float(value)
        if math.isnan(number):
            return _MISSING
        return Parsed("valid", code=int(number)) if number in (0.0, 1.0) else _INVALID
    if isinstance(value, str):
        text = _normalised(value)
        if (missing := _missing_word(text)) is not None:
            return missing
        folded = text.casefold()
        if folded in _YES:
            return Parsed("valid", code=1)
        if folded in _NO:
            return Parsed("valid", code=0)
    return _INVALID


def parse_multi(value: object, known: Iterable[str]) -> Parsed:
    """The selected codes, without "none", in the order of `known`.

    Args:
        value: a list of codes, or one text with the codes joined by ";", "," or "、".
        known: every code that may be chosen; "none" is always understood.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return _MISSING
    if isinstance(value, str):
        text = _normalised(value)
        # here "none" is the code for "nothing of these"; "None" is an empty value written out
        if text != "none" and (missing := _missing_word(text)) is not None:
            return missing
        submitted: list[str] = [part.strip() for part in _BETWEEN.split(text) if part.strip()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        submitted = [_normalised(part) if isinstance(part, str) else repr(part) for part in value]
    else:
        return _INVALID
    if not submitted:
        return _MISSING
    order = [code for code in known if code != "none"]
    chosen = set(submitted)
    kept = tuple(code for code in order if code in chosen)
    unknown = len(chosen - set(order) - {"none"})
    if kept or "none" in chosen:
        return Parsed("valid", codes=kept, invalid_codes=unknown)
    return Parsed("invalid", invalid_codes=unknown)


def parse_text(value: object) -> Parsed:
    """Whether free text says anything: "valid" without a code, or missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return _MISSING
    if not isinstance(value, str):
        return _INVALID
    return _missing_word(_normalised(value)) or Parsed("valid")


def is_set(value: object) -> bool:
    """Whether a field of a business event says yes (a discount was given, an order was cancelled): an amount above
    zero, true, or a word for yes.

    >>> is_set("1,000"), is_set("はい"), is_set("0"), is_set(None)
    (True, True, False, False)
    """
    if isinstance(value, str):
        number = amount_of(value)
        return number > 0 if number is not None else unicodedata.normalize("NFKC", value).strip().casefold() in _YES
    return isinstance(value, int | float) and value > 0


def yes_or_no(value: object) -> bool | None:
    """A field of a business event that may be unknown: true, false, or None when it is missing or says neither."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        word = unicodedata.normalize("NFKC", value).strip().casefold()
        return True if word in _YES else False if word in _NO else None
    return value > 0 if isinstance(value, int | float) and math.isfinite(value) else None


def amount_of(value: object) -> float | None:
    """A number of a business event, also written as 「5,400円」 or "¥5,400"; None when it is none, not finite, or of
    more than 15 digits.

    >>> amount_of("5,400円"), amount_of(3), amount_of(True), amount_of("many"), amount_of(1e308)
    (5400.0, 3.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str):
        value = unicodedata.normalize("NFKC", value).strip().strip("¥円").replace(",", "")
        if len(value) > _LONGEST_NUMBER:
            return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) <= _LARGEST_AMOUNT else None  # also of NaN
