"""An attack on everything that leaves the machine: a reader with all formats of several digests, and a pencil.

Shops are drawn with cells of one to nine answers everywhere. Of all figures in the digests' JSON and on their pages the
reader knows whose answers they are of; each is an equation over the cells. Whatever follows from the equations by
adding and subtracting must hold ten answers.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_history import MONDAY, SHOP, TOKYO, WEEKLY, History, weeks_ago

from reports.digest import DigestContext, DigestRule, gather, week_name
from reports.instruments import bundled_instruments, specs_of
from reports.kpis import midnight_ms
from reports.render import render_json, render_text
from reports.sample import samples
from reports.views import EVERYBODY, Views, gather_views
from reports.words import Words
from storage.store import Tx, open_store

SPECS = specs_of(bundled_instruments())
Question = tuple[str, str, str, str]
"""Instrument, kind of survey, touchpoint, wording."""
Cell = tuple[str, str, str, str]
"""Week, segment, channel, language."""


def drawn_shop(seed: int) -> History:
    """Eight weeks of three stores, two channels, two touchpoints and two languages; many cells hold a handful."""
    chance, history = random.Random(seed), History()
    usual = chance.choice([3, 6, 12, 30])
    for back in range(8):
        for segment in ("渋谷店", "新宿店", "梅田店"):
            for channel in ("line", "slack"):
                size = chance.choice([0, 1, chance.randint(1, 9), usual, usual])
                for _ in range(size if channel == "line" else size // 3):
                    where = {
                        "monday": weeks_ago(back),
                        "segment": segment,
                        "channel": channel,
                        "lang": chance.choices(["ja", "en"], [9, 1])[0],
                    }
                    history.answer("nps", chance.randint(0, 10), **where)  # type: ignore[arg-type]
                    if chance.random() < 0.6:
                        place = chance.choices(["purchase", "support"], [3, 1])[0]
                        history.answer("sat5", chance.randint(1, 5), touchpoint=place, **where)  # type: ignore[arg-type]
    history.invite_everyone()
    return history


@dataclass
class Known:
    """What somebody knows who has read everything: for each question, whose answers the figures are of."""

    totals: defaultdict[Question, list[dict[str, tuple[str, ...]]]] = field(default_factory=lambda: defaultdict(list))

    def figure(self, record: dict[str, Any], **only: str) -> None:
        """A result record that tells a score."""
        if record["score"] is None or record["metric"] not in SPECS or record["n_valid"] == 0:
            return
        question = (record["metric"], record["survey_kind"], record["touchpoint"], record["wording_id"])
        window = record["window"]
        limits = {"week": (window["start"], window["end"]), **{name: (value,) for name, value in only.items() if value}}
        self.totals[question].append(limits)

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

    def views(self, views: Views) -> None:
        """The page: its panels, lines and heat map."""
        for scope, result in shown_on(views):
            only = {} if scope.dimension == "all" else {scope.dimension: scope.value}
            self.figure(result.to_json(), **only)

    def found_out(self, question: Question, sizes: Counter[Cell]) -> list[tuple[list[Cell], int]]:
        """Sums of cells with fewer than ten answers that follow from the totals."""
        cells = sorted(sizes)
        rows = [[_inside(cell, limits) for cell in cells] for limits in self.totals[question]]
        if not rows:
            return []
        # cells in the same totals can never be told apart
        alike: dict[tuple[bool, ...], list[Cell]] = {}
        for cell, column in zip(cells, zip(*rows, strict=True), strict=True):
            alike.setdefault(column, []).append(cell)
        matrix = np.array(list(alike), dtype=float).T
        groups = list(alike.values())
        _, strengths, axes = np.linalg.svd(matrix)
        unknown = axes[(strengths > 1e-9).sum() :].T
        n = [sum(sizes[cell] for cell in group) for group in groups]
        small = [place for place in range(len(groups)) if n[place] < 10]
        return [
            ([cell for place in chosen for cell in groups[place]], sum(n[place] for place in chosen))
            for k in (1, 2, 3)
            for chosen in combinations(small, k)
            if sum(n[place] for place in chosen) < 10
            and np.abs(unknown[list(chosen)].sum(axis=0)).max(initial=0.0) < 1e-7
        ]


def shown_on(views: Views) -> Iterator[tuple[Any, Any]]:
    for view in (*views.views, *(view for metric in views.metrics for view in metric.views)):
        if view.results:
            yield view.scope, view.results[0]
    for line in views.trends:
        for point in line.points:
            if point.result is not None:
                yield line.scope, point.result
    for row in views.heat:
        for point in row.points:
            if point.result is not None:
                yield EVERYBODY, point.result


def _inside(cell: Cell, limits: dict[str, tuple[str, ...]]) -> bool:
    start, end = limits["week"]
    named = dict(zip(("segment", "channel", "lang"), cell[1:], strict=True))
    return start <= cell[0] < end and all(named[name] == limits[name][0] for name in named if name in limits)


async def digests_of(
    history: History, folder: Path, *, back: tuple[int, ...], rule: DigestRule = WEEKLY
) -> list[tuple[DigestContext, Views]]:
    """The digests of several weeks and what stands on their pages."""
    store = await open_store(f"sqlite:///{folder / 'koe.db'}", now_ms=midnight_ms(MONDAY, TOKYO))

    def digest(tx: Tx, monday: date) -> tuple[DigestContext, Views]:
        now_ms = midnight_ms(monday + timedelta(weeks=1), TOKYO)
        gathered = gather(
            tx, shop=SHOP, digest_rule=rule, period=week_name(monday), now_ms=now_ms, tz=TOKYO, instruments=SPECS
        )
        return gathered.computed(), gather_views(tx, gathered, rule=rule, shop=SHOP, tz=TOKYO)

    try:
        await store.write(history.store)
        return [await store.read(partial(digest, monday=weeks_ago(weeks))) for weeks in back]
    finally:
        await store.close()


def sizes_of(history: History) -> dict[Question, Counter[Cell]]:
    found: defaultdict[Question, Counter[Cell]] = defaultdict(Counter)
    for a in history.answers:
        if a.numeric and not a.missing:
            question = (a.instrument, a.survey_kind, a.touchpoint, a.wording_id)
            found[question][(a.week, a.segment, a.channel, a.lang)] += 1
    return found


@pytest.mark.parametrize("seed", range(3))
async def test_no_sum_under_ten_follows_from_three_digests_and_their_pages(seed: int, tmp_path: Path) -> None:
    history = drawn_shop(seed)
    known = Known()
    for context, views in await digests_of(history, tmp_path, back=(2, 1, 0)):
        known.read(render_json(context))
        known.views(views)
    assert sum(len(totals) for totals in known.totals.values()) >= 10, "hiding everything would be safe, too"
    for question, sizes in sizes_of(history).items():
        assert known.found_out(question, sizes) == [], question


# --------------------------------------------------------------------------------------- every number with n and window

FIGURES = {
    "score", "ci_low", "ci_high", "delta", "p", "p_adjusted", "detectable", "value", "before", "after", "performance",
    "lmg", "rho", "response_score", "zeta", "polarity",
}  # fmt: skip
COUNTED = {"n_valid", "n", "of", "entered", "rated"}
DATED = {"window", "start_ms"}


def without_n_or_window(found: Any, *, path: str = "", n: bool = False, window: bool = False) -> Iterator[str]:
    """Paths of figures of which neither they themselves, nor what they stand in or beside, say both."""
    if isinstance(found, list):
        for place, part in enumerate(found):
            yield from without_n_or_window(part, path=f"{path}[{place}]", n=n, window=window)
    elif isinstance(found, dict):
        parts = [part for value in found.values() for part in (value if isinstance(value, list) else [value])]
        beside = [part for part in parts if isinstance(part, dict)]
        if path:  # the digest's own window stands at its root: a figure below has to say that it is of it
            n = n or any(COUNTED & part.keys() for part in (found, *beside))
            window = window or any(DATED & part.keys() for part in (found, *beside))
        for name, part in found.items():
            if name in FIGURES and isinstance(part, (int, float)) and not (n and window):
                yield f"{path}.{name}"
            yield from without_n_or_window(part, path=f"{path}.{name}", n=n, window=window)


def test_every_figure_of_a_digest_says_of_how_many_and_of_when() -> None:
    for context, _ in samples():
        told = render_json(context)
        assert list(without_n_or_window(told)) == []
        for part in ("response", "reach", "care"):
            assert set(told[part]["window"]) == {"start", "end"}
        assert all(place["window"] for place in told["mix"])


def test_every_earlier_value_that_is_read_has_its_n_and_dates() -> None:
    for context, _ in samples():
        text = render_text(context)
        for row in (context.primary, *context.rows):
            earlier = row.change.earlier
            if row.change.verdict != "none":
                words = Words(context.language)
                assert f"n={words.count(earlier.n_valid)}" in text
                assert row is not context.primary or words.span(earlier.window) in text
