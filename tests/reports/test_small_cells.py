"""An attack on everything that leaves the machine: a reader with all formats of several digests, and a pencil.

Shops are drawn with cells of one to nine answers everywhere. Of all figures in the digests' JSON and on their pages the
reader knows whose answers they are of; each is an equation over the cells. Whatever follows from the equations by
adding and subtracting must hold ten answers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pencil import Known, digests_of, worked_out
from report_history import DAY_MS, SHOP, WEEKLY, History, monday_ms, weeks_ago

from reports.digest import DigestRule
from reports.experiments import ArmPlan, Trial
from reports.render import render_json, render_text
from reports.sample import samples
from reports.words import Words


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


@pytest.mark.parametrize("seed", [0, 17, 27])
async def test_no_sum_under_ten_follows_from_three_digests_and_their_pages(seed: int, tmp_path: Path) -> None:
    history = drawn_shop(seed)
    known = Known(history)
    for context, views in await digests_of(history, tmp_path, back=(2, 1, 0)):
        known.read(render_json(context))
        known.views(views)
    assert sum(len(totals) for totals in known.totals.values()) >= 10, "hiding everything would be safe, too"
    for question, totals in known.totals.items():
        assert worked_out(totals) == [], question


STORE = DigestRule("store", segment="渋谷店")
BOARD = DigestRule("board", channel="slack", every="month")


@pytest.mark.parametrize("seed", [0, 3, 5])
async def test_no_sum_under_ten_follows_from_digests_of_parts_beside_that_of_everybody(
    seed: int, tmp_path: Path
) -> None:
    history = drawn_shop(seed)
    known, shop, of_parts = Known(history), replace(SHOP, digests=(WEEKLY, STORE, BOARD)), 0
    for rule in shop.digests:
        (folder := tmp_path / rule.id).mkdir()
        only = {"segment": rule.segment, "channel": rule.channel}
        for context, views in await digests_of(history, folder, back=(1, 0), rule=rule, shop=shop):
            known.read(render_json(context), **only)
            known.views(views, **only)
            of_parts += rule.narrowed and any(view.results for view in views.views)
    assert of_parts, "hiding everything would be safe, too"
    for question, totals in known.totals.items():
        assert worked_out(totals) == [], question


# ---------------------------------------------------------------------------------------------- the arms of an A/B test


def shop_on_trial(seed: int) -> tuple[History, Trial]:
    """Six weeks of one shop; for three of them, from some day on, nearly everybody is in one arm or the other."""
    chance, history = random.Random(seed), History()
    start_ms = monday_ms(weeks_ago(3)) + chance.choice([0, 0, 2 * DAY_MS])
    arms: dict[str, str] = {}
    for back in range(6):
        for _ in range(chance.choice([14, 20, 32])):
            at_ms = monday_ms(weeks_ago(back)) + chance.randrange(7 * DAY_MS)
            who = f"c{len(history.answers):05}"
            history.answer("nps", chance.randint(0, 10), monday=weeks_ago(back), at_ms=at_ms, customer=who)
            inside = start_ms + 60_000 < at_ms < monday_ms(weeks_ago(0))
            if inside and chance.random() > 0.06:
                # one arm is asked later than the other
                arms[who] = "B" if at_ms > start_ms + 4 * DAY_MS and chance.random() < 0.6 else "A"
    history.invite_everyone()
    history.invitations = [
        replace(i, experiment="x", arm=arms[i.customer_id]) if i.customer_id in arms else i for i in history.invitations
    ]
    plan = ArmPlan(id="A", weight=0.5, metric="nps", revision="r")
    return history, Trial(
        id="x", name={"ja": "x", "en": "x"}, touchpoint="purchase", metric="nps",
        arms=(plan, plan.model_copy(update={"id": "B"})), n_per_arm=1000, start_ms=start_ms,
        end_ms=monday_ms(weeks_ago(0)), looks=chance.choice([1, 3]), within_ms=None, response_ms=7 * DAY_MS,
        from_planning=False, measurement=False, asides=(),
    )  # fmt: skip


@pytest.mark.parametrize(("seed", "shown"), [(0, False), (1, False), (3, False), (6, True)])
async def test_what_a_few_outside_of_an_experiment_said_does_not_follow_from_its_arms(
    seed: int, shown: bool, tmp_path: Path
) -> None:
    history, trial = shop_on_trial(seed)
    known = Known(history)
    scores: list[float | None] = []
    for context, views in await digests_of(history, tmp_path, back=(2, 1, 0), trials=(trial,)):
        told = render_json(context)
        known.read(told)
        known.views(views)
        (experiment,) = told["experiments"]
        known.arms(experiment)
        scores += [arm["score"] for arm in experiment["arms"]]
    assert any(score is not None for score in scores) is shown
    for question, totals in known.totals.items():
        assert worked_out(totals) == [], question


@pytest.mark.parametrize(("seed", "shown"), [(0, False), (2, False), (6, True)])
async def test_whether_a_few_outside_of_an_experiment_answered_does_not_follow_from_its_arms(
    seed: int, shown: bool, tmp_path: Path
) -> None:
    history, trial = shop_on_trial(seed)
    sent = [(invitation, invitation.sent_ms or 0) for invitation in history.invitations]
    told: list[frozenset[str]] = []
    rates: list[float | None] = []
    for context, _ in await digests_of(history, tmp_path, back=(4, 3, 2, 1, 0), trials=(trial,)):
        found = render_json(context)
        begin_ms, end_ms = (monday_ms(day) for day in (context.week_start, context.week_end))
        week = frozenset(invitation.id for invitation, at_ms in sent if begin_ms <= at_ms < end_ms)
        assert found["response"]["rate"]["n_valid"] == len(week)
        told.append(week)
        (experiment,) = found["experiments"]
        for arm in experiment["arms"]:
            rates.append(arm["response_score"])
            if rates[-1] is not None:
                last_ms = experiment["until_ms"] - trial.response_ms
                mine = frozenset(i.id for i, at_ms in sent if i.arm == arm["id"] and at_ms <= last_ms)
                assert len(mine) == arm["ripe"]
                told.append(mine)
    assert any(rate is not None for rate in rates) is shown
    assert worked_out(told) == []


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


def told_of_hidden(found: Any, *, path: str = "") -> Iterator[str]:
    """Paths of figures that stand in a hidden record, or beside one as what was made of it."""
    if isinstance(found, list):
        for place, part in enumerate(found):
            yield from told_of_hidden(part, path=f"{path}[{place}]")
    elif isinstance(found, dict):
        hidden = [part for part in (found, *found.values()) if isinstance(part, dict)]
        if any(part.get("status") == "suppressed" for part in hidden):
            yield from (
                f"{path}.{name}"
                for name, value in found.items()
                if (name in FIGURES and isinstance(value, (int, float))) or (name == "counts" and value)
            )
        for name, part in found.items():
            yield from told_of_hidden(part, path=f"{path}.{name}")


async def test_neither_intervals_nor_tests_stand_beside_what_is_hidden(tmp_path: Path) -> None:
    # from whole numbers, an interval and n a share could be looked up
    hidden = 0
    for context, _ in [*await digests_of(drawn_shop(0), tmp_path, back=(1, 0)), *samples()]:
        told = render_json(context)
        hidden += str(told).count("'suppressed'")
        assert list(told_of_hidden(told)) == []
    assert hidden


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
