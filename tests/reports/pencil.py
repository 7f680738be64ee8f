"""A reader with a pencil, who has kept every digest and page: what follows from the numbers told by adding and
subtracting. Each number is a total over units – answers, customers, orders – which the tests know one by one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from report_history import MONDAY, SHOP, TOKYO, WEEKLY, History, weeks_ago

from flows.days import midnight_ms
from reports.digest import DigestContext, DigestRule, Shop, gather, week_name
from reports.digest.weeks import month_ending_by
from reports.experiments import Trial
from reports.instruments import bundled_instruments, specs_of
from reports.page.views import Views, gather_views
from storage.records import Answer
from storage.store import Tx, open_store

SPECS = specs_of(bundled_instruments())
FEW = 10


def worked_out(
    totals: Iterable[Collection[Hashable]], *, size: Callable[[list[Hashable]], int] = len
) -> list[list[Hashable]]:
    """Groups of one to nine units whose sum is some combination of the totals. A total of so few is one itself.

    Units in the same totals can never be told apart; of those groups that are small, up to three are put together.

    Args:
        totals: the units of each.
        size: how many customers some units are of, where a customer may have several.
    """
    told = [frozenset(total) for total in totals if total]
    alike: defaultdict[tuple[bool, ...], list[Hashable]] = defaultdict(list)
    for unit in frozenset().union(*told):
        alike[tuple(unit in total for total in told)].append(unit)
    if not alike:
        return []
    groups = list(alike.values())
    matrix = np.array(list(alike), dtype=float).T
    _, strengths, axes = np.linalg.svd(matrix)
    unknown = axes[(strengths > 1e-9).sum() :].T
    small = [place for place, group in enumerate(groups) if size(group) < FEW]
    sums = (list(chosen) for k in (1, 2, 3) for chosen in combinations(small, k))
    known = (chosen for chosen in sums if np.abs(unknown[chosen].sum(axis=0)).max(initial=0.0) < 1e-7)
    found = ([unit for place in chosen for unit in groups[place]] for chosen in known)
    return [group for group in found if size(group) < FEW]


class Question(NamedTuple):
    """What answers are never pooled over."""

    instrument: str
    survey_kind: str
    touchpoint: str
    wording_id: str


def question_of(answer: Answer) -> Question:
    return Question(answer.instrument, answer.survey_kind, answer.touchpoint, answer.wording_id)


@dataclass
class Known:
    """What the reader knows of the scores: for each question, whose answers each number is of."""

    history: History
    totals: defaultdict[Question, list[frozenset[str]]] = field(default_factory=lambda: defaultdict(list))

    def figure(self, record: dict[str, Any], **only: str) -> None:
        """A result record that tells a score."""
        if record["score"] is None or record["metric"] not in SPECS or record["n_valid"] == 0:
            return
        question = Question(record["metric"], record["survey_kind"], record["touchpoint"], record["wording_id"])
        window = record["window"]
        limits = {name: value for name, value in only.items() if value}
        answers = frozenset(
            answer.id
            for answer in self.of(question)
            if window["start"] <= answer.week < window["end"]
            and all(getattr(answer, name) == value for name, value in limits.items())
        )
        self.totals[question].append(answers)

    def of(self, question: Question) -> list[Answer]:
        return [a for a in self.history.answers if a.numeric and not a.missing and question_of(a) == question]

    def read(self, found: Any, **only: str) -> None:
        """Every record in a JSON value, however deep."""
        if isinstance(found, list):
            for part in found:
                self.read(part, **only)
        elif isinstance(found, dict):
            if {"metric", "score", "window", "n_valid", "survey_kind"} <= found.keys():
                beside = {"channel": found["channel"], "lang": found["lang"]} if "channel" in found else {}
                if "=" not in found["segment"] and found["variant"] != "channel_spread":
                    self.figure(found, **{**only, **beside, "segment": found["segment"]})
            for name, part in found.items():
                if name == "channels" and isinstance(part, dict):
                    for channel, result in part.items():
                        self.read(result, channel=channel)
                else:
                    self.read(part, **only)

    def views(self, views: Views, **only: str) -> None:
        """The page: its panels, lines and heat map; of a digest of a part, `only` that."""
        for scope, result in shown_on(views):
            named = {} if scope.dimension == "all" else {scope.dimension: scope.value}
            self.figure(result.to_json(), **{**only, **named})

    def arms(self, experiment: dict[str, Any]) -> None:
        """The arms of an A/B test: each customer's latest answer until the data end."""
        arm_of = {i.customer_id: i.arm for i in self.history.invitations if i.experiment == experiment["id"]}
        for arm in experiment["arms"]:
            mine = {
                a.customer_id: a
                for a in sorted(self.history.answers, key=lambda a: a.answered_ms)
                if a.instrument == experiment["metric"]
                and arm_of.get(a.customer_id) == arm["id"]
                and a.answered_ms < experiment["until_ms"]
            }
            assert arm["n"] == len(mine)
            if arm["score"] is not None and mine:
                self.totals[question_of(next(iter(mine.values())))].append(frozenset(a.id for a in mine.values()))


def shown_on(views: Views) -> Iterator[tuple[Any, Any]]:
    """(scope, result) of every number on a page."""
    for view in (*views.views, *(view for metric in views.metrics for view in metric.views)):
        if view.results:
            yield view.scope, view.results[0]
    for line in views.trends:
        for point in line.points:
            if point.result is not None:
                yield line.scope, point.result
    for row in (*views.heat, *views.heat_parts):
        for point in row.points:
            if point.result is not None:
                yield row.scope, point.result


async def digests_of(
    history: History,
    folder: Path,
    *,
    back: tuple[int, ...],
    rule: DigestRule = WEEKLY,
    shop: Shop = SHOP,
    trials: tuple[Trial, ...] = (),
) -> list[tuple[DigestContext, Views]]:
    """The digests of several weeks, or of the months that end with them, and what stands on their pages."""
    store = await open_store(f"sqlite:///{folder / 'koe.db'}", now_ms=midnight_ms(MONDAY, TOKYO))

    def digest(tx: Tx, monday: date) -> tuple[DigestContext, Views]:
        end = monday + timedelta(weeks=1)
        now_ms = midnight_ms(end, TOKYO)
        period = week_name(monday) if rule.every == "week" else month_ending_by(end).name
        gathered = gather(
            tx, shop=shop, digest_rule=rule, period=period, now_ms=now_ms, tz=TOKYO, instruments=SPECS, trials=trials
        )
        return gathered.computed(), gather_views(tx, gathered, rule=rule, shop=shop, tz=TOKYO)

    try:
        await store.write(history.store)
        return [await store.read(partial(digest, monday=weeks_ago(weeks))) for weeks in back]
    finally:
        await store.close()
