"""The attack on the checks of the answers: they part four weeks by how soon an answer came, by language, and by how
carefully it was given, Monday after Monday, beside the scores.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from pencil import Known, digests_of, question_of, worked_out
from report_history import DAY_MS, HOUR_MS, History, monday_ms, weeks_ago

from reports.render import render_json
from storage.records import Answer


@dataclass
class Checked:
    """A shop, and what the checks see of its answers to the leading question."""

    history: History = field(default_factory=History)
    late: set[str] = field(default_factory=set)
    quick: set[str] = field(default_factory=set)

    def answer(self, *, back: int, at_ms: int, lang: str, late: bool, quick: bool, segment: str = "") -> None:
        h = self.history
        h.answer("nps", at_ms % 11, monday=weeks_ago(back), at_ms=at_ms, lang=lang, segment=segment)
        given = h.answers[-1]
        if late:
            self.late.add(given.id)
        if quick:
            self.quick.add(given.id)
            h.answers.append(
                structs.replace(
                    given, id=f"{given.id}q", question="sat5", instrument="sat5", wording_id="sat5.1", value="5",
                    label_set="plain", answered_ms=at_ms + 100, shown_ms=at_ms,
                )
            )  # fmt: skip

    def invite(self) -> None:
        """Each a minute before the answer, or two days."""
        late = {a.session_id for a in self.history.answers if a.id in self.late}
        self.history.invite_everyone()
        self.history.invitations = [
            replace(i, sent_ms=(i.sent_ms or 0) - 2 * DAY_MS) if i.session_id in late else i
            for i in self.history.invitations
        ]

    def told(self, quality: dict[str, Any]) -> list[list[Answer]]:
        """Whose answers the figures of the checks are of."""
        found: list[list[Answer]] = []

        def add(record: dict[str, Any], mine: Collection[Answer]) -> None:
            begin, end = record["window"]["start"], record["window"]["end"]
            inside = [a for a in mine if a.instrument == record["metric"] and begin <= a.week < end]
            if record["score"] is not None and inside:
                assert record["n_valid"] == len(inside)
                found.append(inside)

        answers = [a for a in self.history.answers if a.instrument == "nps"]
        for timing in quality["early_late"]:
            add(timing["early"], [a for a in answers if a.id not in self.late])
            add(timing["late"], [a for a in answers if a.id in self.late])
        for record in quality["scale_use"]:
            add(record, [a for a in answers if (a.channel, a.lang) == (record["channel"], record["lang"])])
        for one in quality["careless"]["without"]:
            add(one["all"], answers)
            add(one["without"], [a for a in answers if a.id not in self.quick])
        return found


def drawn(seed: int) -> Checked:
    """Nine weeks; of two stores, languages, ways of answering, some are rare."""
    chance, shop = random.Random(seed), Checked()
    usual, rare = chance.choice([4, 8, 14, 25, 45]), chance.choice([0.1, 0.3, 0.5])
    for back in range(9):
        for _ in range(chance.choice([usual, usual, chance.randint(1, 9), 2 * usual])):
            shop.answer(
                back=back,
                # whoever is late was invited in the same week
                at_ms=monday_ms(weeks_ago(back)) + chance.randrange(2 * DAY_MS + HOUR_MS, 6 * DAY_MS),
                lang="en" if chance.random() < rare else "ja",
                late=chance.random() < rare,
                quick=chance.random() < 0.2,
                segment=chance.choice(["渋谷店", "新宿店"]),
            )
    shop.invite()
    return shop


@pytest.mark.parametrize("seed", [4, 11])
async def test_no_sum_under_ten_follows_from_the_checks_of_the_answers_beside_their_scores(
    seed: int, tmp_path: Path
) -> None:
    shop = drawn(seed)
    known = Known(shop.history)
    shown = 0
    for context, views in await digests_of(shop.history, tmp_path, back=(4, 3, 2, 1, 0)):
        told = render_json(context)
        checks = shop.told(told.pop("quality"))
        known.read(told)
        known.views(views)
        shown += len(checks)
        for answers in checks:
            known.totals[question_of(answers[0])].append(frozenset(a.id for a in answers))
    assert shown, "hiding everything would be safe, too"
    for question, totals in known.totals.items():
        assert worked_out(totals) == [], question


async def test_where_each_part_of_each_week_holds_ten_the_checks_tell_all_of_it(tmp_path: Path) -> None:
    shop = Checked()
    for back in range(5):
        for n in range(48):
            at_ms = monday_ms(weeks_ago(back)) + 3 * DAY_MS + n
            shop.answer(
                back=back, at_ms=at_ms, lang="en" if n % 2 else "ja", late=n % 4 > 1, quick=n < 12
            )  # fmt: skip
    shop.invite()
    for context, _ in await digests_of(shop.history, tmp_path, back=(1, 0)):
        checks = shop.told(render_json(context)["quality"])
        # early and late, and three shares in each of two languages
        assert [len(answers) for answers in checks if len(answers) == 96] == [96] * 8
