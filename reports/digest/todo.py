"""What to look at this week: three things at most, the most pressing first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from reports.comments.compared import GrownTopic
from reports.digest.context import DigestContext
from reports.kpi.report import Hint
from reports.metrics import Result, Span

AT_MOST = 3
UNLINKED_FROM = 50.0
"""Per cent of buyers who cannot be written to on LINE, from which it is worth a look."""


@dataclass(frozen=True, slots=True)
class Todo:
    """One thing; of the fields that which `kind` speaks of is set."""

    kind: Literal["overdue", "quota", "topic", "target", "unlinked"]
    count: int = 0
    topic: GrownTopic | None = None
    hint: Hint | None = None
    share: float = 0.0
    of: int = 0
    """Of how many customers a topic's `count` or a `share` is."""
    window: Span | None = None
    """When these said or bought something."""


def todo_of(context: DigestContext) -> tuple[Todo, ...]:
    """Promises that were missed, LINE messages that will not last, a topic that grew by its own test, figures on the
    wrong side of their target, buyers who are not linked."""
    found: list[Todo] = []
    if context.care.overdue:
        found.append(Todo("overdue", context.care.overdue))
    if context.reach.left_at_month_end == 0 or context.reach.left == 0:
        found.append(Todo("quota"))
    last_week = Span((context.week_end - timedelta(weeks=1)).isoformat(), context.week_end.isoformat())
    found += [
        Todo("topic", topic.now, topic=topic, of=topic.now_of, window=last_week) for topic in grown_topics(context)[:1]
    ]
    if context.kpis is not None and context.kpis.hints:
        found.append(Todo("target", len(context.kpis.hints), hint=context.kpis.hints[0]))
    linked = context.reach.linked
    unlinked = _unlinked(linked)
    if unlinked is not None and unlinked >= UNLINKED_FROM:
        found.append(Todo("unlinked", share=unlinked, of=linked.n_valid, window=linked.window))
    return tuple(found[:AT_MOST])


def grown_topics(context: DigestContext) -> list[GrownTopic]:
    """The topics that more comments of the week speak of than of the four weeks before, by their own test; those of the
    touchpoint that leads the digest first, then by the number of comments."""
    if context.texts is None:
        return []
    lead = context.primary.result.stratum.touchpoint
    found = [(text, topic) for text in context.texts.found for topic in text.grown_topics or ()]
    found.sort(key=lambda pair: (pair[0].stratum.touchpoint != lead, -pair[1].now, pair[1].topic.id))
    return [topic for _, topic in found]


def _unlinked(linked: Result) -> float | None:
    return None if linked.score is None or linked.status != "ok" else 100.0 - linked.score
