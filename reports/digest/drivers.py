"""What moved the recommendation in the quarter that ended: read in the digest's transaction, computed after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from flows.days import midnight_ms
from reports.digest.shop import DigestRule, Shop
from reports.digest.telling import Telling
from reports.digest.weeks import Period
from reports.drivers.analysis import DriverAnalysis, analyse, beside_scores, driver_sittings
from reports.metrics import SUPPRESS_BELOW, InstrumentSpec, Span
from reports.sittings import Sitting
from storage.store import Tx


@dataclass(frozen=True, slots=True)
class Driven:
    """The answers of a quarter that were given together with the recommendation."""

    _quarter: Span
    _sittings: Sequence[Sitting]
    _telling: Telling
    """As of the week in which the quarter ended, so each digest comes to the same."""
    _specs: Mapping[str, InstrumentSpec]
    _blocks: Mapping[str, tuple[str, ...]]
    _tz: ZoneInfo
    _told_until: date | None
    """Up to which Monday a digest of months has told the quarter already."""

    def analysed(self) -> tuple[DriverAnalysis, ...]:
        """An analysis of each block of touchpoints, without what its scores would give away, or those days of the
        quarter that a digest of months did not wait for."""
        found = analyse(self._sittings, self._specs, blocks=self._blocks, window=self._quarter, tz=self._tz)
        told = beside_scores(found, self._telling.may_tell_beside)
        return tuple(
            one.without_performance() if self._few_since(counted) else one
            for counted, one in zip(found, told, strict=True)
        )

    def _few_since(self, analysis: DriverAnalysis) -> bool:
        if self._told_until is None:
            return False
        monday = self._told_until
        return any(
            0 < sum(n for place, n in places.items() if place.monday >= monday) < SUPPRESS_BELOW
            for places in analysis.places.values()
        )


def read_driven(
    tx: Tx, period: Period, *, rule: DigestRule, shop: Shop, tz: ZoneInfo, specs: Mapping[str, InstrumentSpec]
) -> Driven | None:
    """What is read of the quarter that ended with the period or in its last week; None when none did."""
    quarter = period.quarter_over
    if quarter is None:
        return None
    last = quarter[1] - timedelta(days=1)
    week_over = last - timedelta(days=last.weekday()) + timedelta(weeks=1)
    by_month = period.every == "week" and any(one.every == "month" and not one.narrowed for one in shop.digests)
    return Driven(
        Span(*(day.isoformat() for day in quarter)),
        driver_sittings(tx, *(midnight_ms(day, tz) for day in quarter), specs=specs),
        Telling(tx, specs, rule, week_over, digests=shop.digests),
        specs,
        shop.blocks,
        tz,
        # its weeks are over before that which holds the first day of the next quarter
        quarter[1] - timedelta(days=quarter[1].weekday()) if by_month else None,
    )
