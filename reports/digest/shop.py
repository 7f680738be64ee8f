"""What a digest is made for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from reports.benchmarks import Benchmark
from reports.digest.reach import LineMessages
from reports.digest.weeks import Every
from reports.instruments import bundled_blocks
from reports.kpi.window import KpiSettings
from reports.words import Language, Limits


@dataclass(frozen=True, slots=True)
class DigestRule:
    """One entry of `digests` in koe.yaml, as far as its content depends on it."""

    id: str
    language: Language | None = None
    segment: str = ""
    touchpoint: str = ""
    channel: str = ""
    every: Every = "week"

    @property
    def narrowed(self) -> bool:
        """It is about a part of the answers: what belongs to customers or to the shop is left to the others."""
        return bool(self.segment or self.touchpoint or self.channel)


@dataclass(frozen=True, slots=True)
class Shop:
    """What a digest must know of the shop."""

    brand: Mapping[str, str]
    language: Language = "ja"
    primary_metric: str = "nps"
    targets: Mapping[str, float] | None = None
    limits: Limits = field(default_factory=Limits)
    country: str = "JP"
    benchmarks: tuple[Benchmark, ...] = ()
    repeat_interval_ms: int | None = None
    """Usual time between two purchases of a customer; None when the shop does not know it."""
    blocks: Mapping[str, tuple[str, ...]] = field(default_factory=bundled_blocks)
    """Touchpoints that are asked about together."""
    kpis: KpiSettings = field(default_factory=KpiSettings)
    closed: frozenset[date] | None = None
    """Days of the past without anybody there; None = Saturdays and Sundays."""
    line: LineMessages | None = None
    """As LINE counts them; None when LINE is off or did not say."""
    digests: tuple[DigestRule, ...] = ()
    """All of them: what one tells can be taken from what another does."""
