"""What a digest may print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal

from reports.benchmarks import Standing
from reports.checks.quality import Quality
from reports.comments.free_text import FreeTexts
from reports.digest.care import Care
from reports.digest.history import Pause, Revision
from reports.digest.mix import Mix
from reports.digest.reach import Reach
from reports.digest.response import Response
from reports.digest.scores import IndexRow, Mode, Row
from reports.digest.weeks import Every
from reports.drivers.analysis import DriverAnalysis
from reports.experiments import ExperimentReport
from reports.kpi.report import KpiReport
from reports.metrics import InstrumentSpec, Result
from reports.trust.portfolio import Portfolio
from reports.words import Language, Limits

Block = Literal["segments", "trust", "kpis", "linkage", "drivers", "experiments", "topics", "line"]
Why = Literal["narrowed", "monthly", "quarterly", "no_events", "no_answers", "no_comments", "not_set", "unknown"]


@dataclass(frozen=True, slots=True)
class Missing:
    """A block that is named instead of dropped in silence."""

    block: Block
    why: Why


@dataclass(frozen=True, slots=True)
class DigestContext:
    """Everything a digest may print. Suppressed results carry their n and nothing else."""

    digest_id: str
    period: str
    """ISO week "2026-W46", or month "2026-11"."""
    every: Every
    language: Language
    brand: str
    computed_ms: int
    week_start: date
    week_end: date
    """First day of the period's weeks, and of the week after them."""
    window_start: date
    """Of the scores: the period, or four weeks in rolling mode."""
    mode: Mode
    primary_spec: InstrumentSpec
    primary: Row
    week_result: Result
    """The primary metric in the week alone (equal to primary.result in week mode)."""
    show_week_result: bool
    """In rolling mode: whether the week alone may be printed beside the four weeks."""
    rows: tuple[Row, ...]
    """All other metrics with answers in the window; items of batteries are in `indices`."""
    indices: tuple[IndexRow, ...]
    strata_shown: bool
    """More than one touchpoint or kind of survey occurs: rows say which they are."""
    response: Response
    mix: Mix
    """Where the answers to the primary question came from."""
    benchmarks: tuple[Standing, ...]
    """The published figures of koe.yaml beside our leading results."""
    drivers: tuple[DriverAnalysis, ...]
    """What moves the recommendation, of the quarter before: in the first digest of everything after its end."""
    segments: tuple[Result, ...]
    """Recommendation × continued use and psychological × behavioural loyalty, of the answers and events of a year."""
    kpis: KpiReport | None
    """Figures from business events, with the last eight weeks; `linkages` in the first digest of a month only. None
    where there are no events, and in a narrowed digest."""
    reach: Reach
    quality: Quality
    """Checks of the last four weeks, in a digest of everything; empty in others."""
    care: Care
    late: int
    """Answers to the primary question in the week given after their survey had expired."""
    first: bool
    revisions: tuple[Revision, ...]
    """Headlines of the last eight weeks that later answers changed, the oldest first."""
    flags: tuple[str, ...]
    experiments: tuple[ExperimentReport, ...]
    """A/B tests at the touchpoint of the digest; none in one about a segment, where arms are not whole."""
    trust: Portfolio | None
    """The trust balances of all customers; None in a digest that is limited to a part of the answers."""
    rated: Mapping[tuple[str, str], tuple[int, ...]]
    """Kind of survey and touchpoint → answers to the question of recommendation in the window of the comments, wording
    by wording: what the rating of a topic could be subtracted from."""
    texts: FreeTexts | None
    """Words and topics; None until the comments are read, which takes longer than a transaction should."""
    pause: Pause
    missing_blocks: tuple[Missing, ...]
    """Blocks that this digest does not have, and why."""
    shows_nps: bool
    filtered: str
    """What the rule's `where` leaves of the answers, in the digest's language ("" = everything)."""
    limits: Limits
    specs: Mapping[str, InstrumentSpec]
    """Every instrument that is scored: names for what is spoken of outside the rows."""
