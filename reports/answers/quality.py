"""Whether the answers of a file can be trusted: who answered without reading, found in two looks at its rows.

The first look keeps sixteen bytes of a row that has a session and a time, and a few numbers of a battery; only what a
suspicious session answered is told apart, in the second.

Source: docs/metrics.md ("Whether the answers can be trusted").
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from reports.answers.file import Row
from reports.checks.careless import MS_PER_QUESTION, SAME_ITEMS
from reports.metrics import InstrumentSpec
from reports.sittings import Together, together


@dataclass(slots=True)
class _Line:
    """What one sitting answered to one battery, as far as a straight line of it goes."""

    code: int
    items: set[str] = field(default_factory=set)
    turned: bool = False
    straight: bool = True


class Suspects:
    """Rows in; the sittings in which nobody seems to have read the questions out.

    Args:
        specs: instrument → how it is scored.
    """

    def __init__(self, specs: Mapping[str, InstrumentSpec]) -> None:
        items = {spec.id: spec.item for spec in specs.values() if spec.item is not None}
        turned = {item.battery for item in items.values() if item.reverse}
        self._items = {name: item for name, item in items.items() if item.battery in turned}
        self._lines: dict[tuple[Together, str], _Line] = {}
        self._sessions = array("q")
        self._times = array("q")
        self.straightline: frozenset[Together] = frozenset()
        self._speeders: frozenset[int] = frozenset()

    def take(self, row: Row, instrument: str, code: int | None, at_ms: int | None) -> None:
        """One row in the first look.

        Args:
            code: of a valid answer on a scale, else None.
            at_ms: when it was given, None when unknown.
        """
        if row.session and at_ms is not None:
            self._sessions.append(hash(together(row)))
            self._times.append(at_ms)
        item = self._items.get(instrument)
        if item is None or code is None or (key := together(row)) is None:
            return
        line = self._lines.setdefault((key, item.battery), _Line(code))
        line.items.add(instrument)
        line.turned = line.turned or item.reverse
        line.straight = line.straight and code == line.code

    def judge(self) -> bool:
        """After the first look: whether there is any."""
        self.straightline = frozenset(
            sitting
            for (sitting, _), line in self._lines.items()
            if line.straight and line.turned and len(line.items) >= SAME_ITEMS
        )
        self._speeders = frozenset(_too_quick(self._sessions, self._times))
        return bool(self.straightline or self._speeders)

    @property
    def speeders(self) -> int:
        """How many sittings took less than a second a question."""
        return len(self._speeders)

    def __contains__(self, row: Row) -> bool:
        """Whether a row is of such a sitting."""
        key = together(row)
        if key is None:
            return False
        return key in self.straightline or (bool(row.session) and hash(key) in self._speeders)


def _too_quick(sessions: array[int], times: array[int]) -> Iterable[int]:
    """Sessions whose answers, after the first, came within less than a second each on the average. When all carry one
    time it is that of the form being sent, and tells nothing."""
    if not sessions:
        return []
    who, at = np.frombuffer(sessions, dtype=np.int64), np.frombuffer(times, dtype=np.int64)
    order = np.argsort(who, kind="stable")
    _, first, counts = np.unique(who[order], return_index=True, return_counts=True)
    took = np.maximum.reduceat(at[order], first) - np.minimum.reduceat(at[order], first)
    quick = (counts > 1) & (took > 0) & (took < MS_PER_QUESTION * (counts - 1))
    return [int(name) for name in who[order][first][quick]]
