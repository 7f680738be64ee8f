"""The same attack on the parts of a digest beside its scores: of whom is each number, and what follows from all of them
together? Shops are drawn with groups of one to nine everywhere.
"""

from __future__ import annotations

import random
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pytest
from pencil import digests_of, worked_out
from report_history import History, weeks_ago

from reports.digest import DigestRule
from reports.render import render_json, render_text

Units = frozenset[Hashable]


# -------------------------------------------------------------------------------------------------------- invitations


def told_of_invitations(
    found: dict[str, Any], weeks: list[int], sent: dict[int, int], held: dict[int, int]
) -> list[Units]:
    """Whose fate each number of a digest of these weeks tells."""
    response = found["response"]
    arrived = frozenset(("sent", week, n) for week in weeks for n in range(sent[week]))
    skipped = frozenset(("held", week, n) for week in weeks for n in range(held[week]))
    assert response["rate"]["n_valid"] == len(arrived)
    assert response["held"] == len(skipped)
    told = []
    if response["answered"] is not None or response["rate"]["score"] is not None:
        told.append(arrived)
    if response["skipped"]:
        assert sum(response["skipped"].values()) == len(skipped)
        told.append(skipped)
    return told


@pytest.mark.parametrize("seed", range(3))
async def test_what_became_of_a_handful_of_invitations_does_not_follow_from_a_month_and_its_weeks(
    seed: int, tmp_path: Path
) -> None:
    chance, history = random.Random(seed), History()
    # October 2026: the weeks from the 28th of September to the 26th
    backs = [7, 6, 5, 4]
    sent = {back: chance.choice([3, 12, 12, 30]) for back in backs}
    held = {back: chance.choice([2, 4, 11, 20]) for back in backs}
    for back in backs:
        reasons = [("min_gap", held[back] - held[back] // 3), ("opted_out", held[back] // 3)]
        history.invited(sent[back], monday=weeks_ago(back), skipped=reasons)
    history.answer("nps", 9, monday=weeks_ago(0))
    monthly = DigestRule("monthly", every="month")
    told: list[Units] = []
    for back, (context, _) in zip(backs, await digests_of(history, tmp_path, back=tuple(backs)), strict=True):
        told += told_of_invitations(render_json(context), [back], sent, held)
        text = render_text(context)
        assert ("日以内の再案内" in text) == (held[back] >= 10)
    (tmp_path / "month").mkdir()
    ((context, _),) = await digests_of(history, tmp_path / "month", back=(4,), rule=monthly)
    told += told_of_invitations(render_json(context), backs, sent, held)
    assert worked_out(told) == []
