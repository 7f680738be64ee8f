"""Scores from the roll-up equal scores from raw answers, whatever happened to the answers: both units of analysis, one
week and several. What should be there is kept by a few lines of plain Python beside the store, never read from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from report_history import MONDAY, NOW_MS, SHOP, TOKYO, WEEK, WEEKLY, monday_ms, weeks_ago

from reports.digest import WeekRange, gather
from reports.digest.counting import Group, Standing
from reports.frames import answers_frame, measure_frame
from reports.instruments import bundled_instruments, specs_of
from reports.look_back import AnswerWeeks
from reports.metrics import CAUTION_BELOW, Result, Span, Stratum, Tally, Unit, measure, tally
from storage.records import Answer, RollupCell
from storage.store import Store, Tx, open_store
from tests.examples import of_each_hundred

SPECS = specs_of(bundled_instruments())
WEEKS = [weeks_ago(back).isoformat() for back in (2, 1, 0)]
_VALUES = {"nps": ("0", "6", "8", "9", "10"), "sat5": ("1", "3", "5"), "emotion": ("relief;trust", "relief", "none")}

Key = tuple[str, Stratum]


def key_of(row: Answer | RollupCell) -> Key:
    return row.instrument, Stratum(row.survey_kind, row.touchpoint, row.wording_id, row.label_set, "ja")


@dataclass
class Shadow:
    """What counts, without a database: (session, question) → the answer that stands."""

    standing: dict[tuple[str, str], Answer] = field(default_factory=dict)

    def answers(self, weeks: Iterable[str]) -> list[Answer]:
        return [answer for answer in self.standing.values() if answer.week in weeks]

    def tallies(self, weeks: Iterable[str], unit: Unit) -> dict[Key, Tally]:
        """Of the answers of these weeks: every valid one, or the latest of each customer."""
        valid = [answer for answer in self.answers(weeks) if not answer.missing]
        latest: dict[tuple[str, ...], Answer] = {}
        for answer in sorted(valid, key=lambda a: (a.answered_ms, a.id)):
            who = answer.customer_id or f"answer {answer.id}"
            latest[who, answer.instrument, answer.survey_kind, answer.touchpoint] = answer
        kept = valid if unit == "per_event" else list(latest.values())
        given_ = self.answers(weeks)
        return {
            key: tally(
                SPECS[key[0]],
                [(answer.value, 1) for answer in kept if key_of(answer) == key],
                missing=sum(1 for answer in given_ if key_of(answer) == key and answer.missing),
                superseded=sum(1 for answer in valid if key_of(answer) == key and answer not in kept),
            )
            for key in map(key_of, given_)
        }


def from_cells(cells: Iterable[RollupCell], unit: Unit) -> dict[Key, Tally]:
    groups: dict[Key, list[RollupCell]] = {}
    for cell in cells:
        groups.setdefault(key_of(cell), []).append(cell)
    out = {}
    for key, mine in groups.items():
        valid = [(cell, cell.answers if unit == "per_event" else cell.customers) for cell in mine if not cell.missing]
        out[key] = tally(
            SPECS[key[0]],
            [(cell.value, times) for cell, times in valid],
            missing=sum(cell.answers for cell in mine if cell.missing),
            superseded=sum(cell.answers - times for cell, times in valid),
        )
    return out


def records(found: dict[Key, Tally], *, unit: Unit, window: Span | None = None) -> list[Result]:
    results = [
        result
        for (instrument, stratum), counted in found.items()
        for result in measure(SPECS[instrument], counted, stratum=stratum, unit=unit, window=window)
    ]
    return in_order(results)


def in_order(results: Iterable[Result]) -> list[Result]:
    return sorted(results, key=lambda one: (one.metric, one.variant, repr(one.stratum)))


@st.composite
def _answers(draw: st.DrawFn) -> dict[str, Any]:
    instrument = draw(st.sampled_from(["nps", "nps", "nps", "sat5", "emotion"]))
    back = draw(st.sampled_from([0, 0, 0, 1, 2]))
    missing = draw(st.sampled_from(["", "", "", "", "skipped", "dk"]))
    # the first and the last millisecond of a week, and ties between
    at_ms = draw(st.sampled_from([0, 1, 1, 2, 7 * 86_400_000 - 1]))
    return {
        "session_id": draw(st.sampled_from(["S1", "S2", "S3", "S4"])),
        "question": instrument,
        "instrument": instrument,
        "value": "" if missing else draw(st.sampled_from(_VALUES[instrument])),
        "missing": missing,
        "customer_id": draw(st.sampled_from(["C001", "C001", "C001", "C002", ""])),
        "touchpoint": draw(st.sampled_from(["purchase", "purchase", "purchase", "support"])),
        "wording_id": draw(st.sampled_from(["w1", "w1", "w1", "w2"])),
        "channel": draw(st.sampled_from(["line", "slack"])),
        "segment": draw(st.sampled_from(["shibuya", "umeda"])),
        "late": draw(st.booleans()),
        "answered_ms": monday_ms(weeks_ago(back)) + at_ms,
        "week": weeks_ago(back).isoformat(),
    }


_STEPS = st.lists(
    st.one_of(
        *[st.tuples(st.sampled_from(["record", "record", "history"]), _answers())] * 4,
        st.tuples(
            st.just("retract"),
            st.tuples(st.sampled_from(["S1", "S2", "S3", "S4"]), st.sampled_from(["nps", "sat5", "emotion"])),
        ),
    ),
    min_size=8,
    max_size=40,
)


def _answer(number: int, **fields: Any) -> Answer:
    return Answer(
        id=f"A{number:04}",
        label_set="",
        numeric=True,
        lang="ja",
        survey_kind="transactional",
        flow_id="f",
        revision="r",
        shown_ms=fields["answered_ms"] - 5_000,
        **fields,
    )


def play(tx: Tx, steps: list[tuple[str, Any]]) -> Shadow:
    """Every step to the store and to its shadow: answers and corrections of them, answers that are history at once, and
    answers taken back."""
    shadow = Shadow()
    for number, (what, subject) in enumerate(steps):
        if what == "retract":
            tx.retract_answer(*subject, NOW_MS)
            shadow.standing.pop(subject, None)
            continue
        answer = _answer(number, **subject)
        if what == "history":
            tx.record_answer(structs.replace(answer, replaced_ms=NOW_MS))
        else:
            tx.record_answer(answer)
            shadow.standing[answer.session_id, answer.question] = answer
    return shadow


class _Undo(Exception):
    pass


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await open_store(f"sqlite:///{tmp_path / 'koe.db'}", now_ms=NOW_MS) as opened:
        yield opened


@settings(
    deadline=None,
    max_examples=of_each_hundred(40),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=_STEPS)
async def test_scores_of_any_history_are_those_of_its_raw_answers(store: Store, steps: list[tuple[str, Any]]) -> None:
    def unit(tx: Tx) -> None:
        shadow = play(tx, steps)
        units: tuple[Unit, ...] = ("latest_per_customer", "per_event")
        for week, per in ((week, per) for week in WEEKS for per in units):
            expected = records(shadow.tallies([week], per), unit=per)
            assert records(from_cells(tx.rollup(week, week), per), unit=per) == expected
        # several weeks: answers add up, customers do not
        everything = tx.rollup(WEEKS[0], WEEKS[-1])
        expected = records(shadow.tallies(WEEKS, "per_event"), unit="per_event")
        assert records(from_cells(everything, "per_event"), unit="per_event") == expected
        start_ms, end_ms = monday_ms(weeks_ago(2)), monday_ms(MONDAY + timedelta(weeks=1))
        latest = shadow.tallies(WEEKS, "latest_per_customer")
        for instrument, touchpoint in {(key[0], key[1].touchpoint) for key in latest}:
            group = Group(instrument, "transactional", touchpoint)
            counted = Standing(AnswerWeeks(tx, TOKYO)).latest(group, WeekRange(weeks_ago(2), 3))
            mine = [t for key, t in latest.items() if (key[0], key[1].touchpoint) == (instrument, touchpoint)]
            codes = sum((Counter({**t.codes, **t.sets}) for t in mine), Counter[Any]())
            found = tally(SPECS[instrument], counted.items())
            assert {**found.codes, **found.sets} == codes
        # and the frame of raw rows, which the roll-up never saw
        frame = answers_frame(tx.answers_between(start_ms, end_ms))
        assert in_order(measure_frame(frame, SPECS)) == records(latest, unit="latest_per_customer")
        raise _Undo  # leaves the database as it was for the next example

    with pytest.raises(_Undo):
        await store.write(unit)


@settings(deadline=None, max_examples=of_each_hundred(12), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS, many=st.booleans())
async def test_the_digest_prints_the_scores_of_the_raw_answers_of_its_week_or_its_four(
    store: Store, steps: list[tuple[str, Any]], many: bool
) -> None:
    """With thirty answers and more the digest is of the week, with fewer of four weeks."""

    def unit(tx: Tx) -> None:
        shadow = play(tx, steps)
        for number in range(CAUTION_BELOW if many else 11):
            fields = {"session_id": f"T{number}", "customer_id": f"D{number}", "value": str(number % 11)}
            same = {"question": "nps", "instrument": "nps", "missing": "", "touchpoint": "purchase", "wording_id": "w1"}
            for week, times in ((WEEKS[-2], 1), (WEEKS[-1], 1)):
                at_ms = monday_ms(MONDAY if week == WEEKS[-1] else weeks_ago(1)) + 3_600_000 * times + number
                answer = _answer(
                    10_000 + number,
                    **{**fields, "session_id": f"{fields['session_id']} {week}"},
                    **same,
                    channel="line",
                    segment="umeda",
                    answered_ms=at_ms,
                    week=week,
                )
                answer = structs.replace(answer, id=f"{answer.id} {week}")
                tx.record_answer(answer)
                shadow.standing[answer.session_id, answer.question] = answer
        gathered = gather(tx, shop=SHOP, digest_rule=WEEKLY, period=WEEK, now_ms=NOW_MS, tz=TOKYO, instruments=SPECS)
        context = gathered.computed()
        weeks = WEEKS if context.mode == "rolling" else WEEKS[-1:]
        assert many == (context.mode == "week")
        window = Span(context.window_start.isoformat(), context.week_end.isoformat())
        expected = records(shadow.tallies(weeks, "latest_per_customer"), unit="latest_per_customer", window=window)
        leads = {(one.metric, one.stratum): one for one in (row.result for row in (context.primary, *context.rows))}
        found = 0
        for one in expected:
            if (lead := leads.get((one.metric, one.stratum))) is not None and lead.variant == one.variant:
                found += 1
                assert lead == one.shown()
        assert found == len(leads)
        raise _Undo

    with pytest.raises(_Undo):
        await store.write(unit)
