"""Which orders stand, from purchases as shops send them: twice, corrected, cancelled, in any order. No I/O.

`reports.event_tables` keeps the same rule over whole tables.

Source: docs/metrics.md ("Figures from business events").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from reports.values import is_set

T = TypeVar("T")


class Sent(NamedTuple, Generic[T]):
    """One purchase event."""

    order: str
    """Its number; "" for an order without one, which is an order of its own."""
    at_ms: int
    void: bool
    """Whether it says that the order was cancelled, or a test."""
    what: T


def sent(at_ms: int, data: Mapping[str, Any], what: T) -> Sent[T]:
    """A purchase event with these data, of which `what` is kept."""
    void = is_set(data.get("cancelled")) or is_set(data.get("test"))
    return Sent(str(data.get("order") or ""), at_ms, void, what)


class Orders(Generic[T]):
    """Orders as their events come in."""

    def __init__(self, purchases: Iterable[Sent[T]] = ()) -> None:
        self._alone: list[tuple[int, T]] = []
        self._numbered: dict[str, tuple[int, int, T] | None] = {}
        for purchase in purchases:
            self.take(purchase)

    def take(self, purchase: Sent[T]) -> None:
        """One more event; of two of one time the later taken counts as the later one."""
        order, at_ms, void, what = purchase
        if not order:
            if not void:
                self._alone.append((at_ms, what))
        elif void:
            self._numbered[order] = None
        elif order not in self._numbered:
            self._numbered[order] = (at_ms, at_ms, what)
        elif (known := self._numbered[order]) is not None:
            first_ms, last_ms, before = known
            newest = what if at_ms >= last_ms else before
            self._numbered[order] = (min(first_ms, at_ms), max(last_ms, at_ms), newest)

    def standing(self) -> list[tuple[int, T]]:
        """(time, what) of each order that stands, in order of time: the first event about it says when, the last one
        what; one that any event calls void is not there.

        >>> Orders([Sent("1", 5, False, "corrected"), Sent("1", 3, False, "first"), Sent("", 4, False, "")]).standing()
        [(3, 'corrected'), (4, '')]
        """
        numbered = [(known[0], known[2]) for known in self._numbered.values() if known is not None]
        return sorted([*self._alone, *numbered], key=lambda order: order[0])
