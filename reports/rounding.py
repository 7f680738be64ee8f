"""Numbers as people read them: round half up, with or without a sign. Standard library only.

Source: docs/metrics.md ("How numbers are written").
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal


def rounded(value: float, digits: int) -> str:
    """Round half up of the number as it is written, without a negative zero.

    >>> rounded(2.675, 2), rounded(-0.04, 1), rounded(0.25, 1)
    ('2.68', '0.0', '0.3')
    """
    quantum = Decimal(1).scaleb(-digits)
    written = Decimal(repr(float(value))).quantize(quantum, rounding=ROUND_HALF_UP)
    return str(abs(written) if written == 0 else written)


def signed(value: float, digits: int) -> str:
    """With its sign; zero has none.

    >>> signed(26.6667, 1), signed(-25.0, 1), signed(-0.0, 1)
    ('+26.7', '-25.0', '0.0')
    """
    text = rounded(value, digits)
    return text if text.startswith("-") or float(text) == 0 else f"+{text}"
