"""How many examples a slow property is tried with."""

from __future__ import annotations

from hypothesis import settings


def of_each_hundred(count: int) -> int:
    """`count` in a normal run; as much more as its profile asks for under `make prove`."""
    return max(1, count * settings.default.max_examples // 100)
