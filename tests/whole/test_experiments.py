"""An experiment from koe.yaml to two customers' screens and to the digest."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from persons import DAY_MS, HOUR_MS, PURCHASE_SHOP, START_MS, Person, at, new_person

from bot import person
from bot.config import Config
from bot.experiments import described
from bot.loading import load
from bot.standins.demo import World, open_world
from flows.experiments import assign
from reports.experiments import Trial, reports_of
from reports.instruments import bundled_instruments, specs_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXPERIMENT = {
    "id": "greeting",
    "trigger": "after-purchase",
    "metric": "sat5",
    "n_per_arm": 10,
    "start": "2026-11-20",
    "end": "2026-12-31",
    "arms": [
        {"id": "A", "weight": 0.5},
        {
            "id": "B",
            "weight": 0.5,
            "questions": {"sat": "csat5"},
            "metric": "csat5",
            "delay": "3h",
            "remind": None,
            "act": "手書きのカードを同封",
            "texts": {
                "inv.purchase": {"ja": "{name?}様\nお届けした商品はいかがでしたか。", "en": "How is it?"},
                "end.middle": {"ja": "ありがとうございました（B）。", "en": "Thank you (B)."},
            },
        },
    ],
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    shop = {**PURCHASE_SHOP, "experiments": [EXPERIMENT]}
    world = await open_world(tmp_path_factory.mktemp("experiments"), start_ms=START_MS, shop=shop)
    yield world
    await world.close()


async def bought(world: World, arm: str) -> Person:
    """A customer whom the lot gives this arm, with a delivery just reported."""
    (experiment,) = world.koe.shop.experiments
    buyer = new_person(world)
    while assign(experiment, buyer.customer_id).id != arm:
        buyer = new_person(world)
    await world.event("purchase", buyer.buyer, order=buyer.order, amount=5000, product="マグカップ", store="kyoto")
    await world.event("delivery", buyer.buyer, order=buyer.order)
    return buyer


def configured(world: World) -> Config:
    environ = {
        "KOE_CONFIG": str(world.directory / "koe.yaml"),
        "KOE_DATABASE_URL": world.koe.settings.database_url,
    }
    return load(environ=environ, env_file=None)


async def test_before_the_start_nobody_takes_part(world: World) -> None:
    early = await bought(world, "B")
    assert "満足していますか" in await early.waits(2 * HOUR_MS)
    assert (await early.last_invitation()).experiment == ""


async def test_two_customers_in_different_arms_get_different_invitations(world: World) -> None:
    await world.advance_to(at(21, 10))
    a, b = await bought(world, "A"), await bought(world, "B")
    seen = await a.waits(HOUR_MS + 60_000)
    assert "先日はお買い上げありがとうございました" in seen
    assert "やや満足" in seen
    assert await b.waits(0) == ""
    other = await b.waits(2 * HOUR_MS)
    assert "お届けした商品はいかがでしたか" in other
    assert "非常に満足" in other
    invitation = await b.last_invitation()
    assert (invitation.experiment, invitation.arm) == ("greeting", "B")
    await a.taps("やや満足")
    await b.taps("非常に満足")
    assert {q: (x.instrument, x.label_set) for q, x in (await a.answers()).items()} == {"sat": ("sat5", "plain")}
    assert {q: (x.instrument, x.label_set) for q, x in (await b.answers()).items()} == {"sat": ("csat5", "classic")}


async def test_the_arm_without_a_reminder_is_not_reminded(world: World) -> None:
    await world.advance_to(at(23, 10))
    a, b = await bought(world, "A"), await bought(world, "B")
    await a.waits(4 * HOUR_MS), b.looks()
    assert "改めてのご案内です" in await a.waits(4 * DAY_MS)
    assert b.looks() == ""


async def test_a_session_of_an_arm_ends_in_the_words_of_the_arm_even_when_the_experiment_is_gone(world: World) -> None:
    await world.advance_to(at(28, 10))
    b = await bought(world, "B")
    await b.waits(4 * HOUR_MS)
    await b.taps("満足")
    (session, *_) = await b.sessions()
    definition = await world.koe.store.read(lambda tx: tx.find_revision(session.revision))
    assert definition is not None
    # read back without the experiment, as after its section was removed
    flow = replace(world.koe.library, arms={}).flow_from(definition)
    assert flow.revision == session.revision
    assert flow.deck.text("end.middle", "ja") == "ありがとうございました（B）。"
    assert world.koe.library.deck.template("end.middle", "ja").raw != "ありがとうございました（B）。"


async def test_what_the_shop_is_to_do_stands_with_the_person_from_the_planning_on(world: World) -> None:
    await world.advance_to(at(29, 10))
    b = await bought(world, "B")
    told = await person.show(configured(world), b.customer_id, form="text", clock=world.clock)
    assert "experiment greeting: arm B – 手書きのカードを同封" in told
    whole = json.loads(await person.show(configured(world), b.customer_id, form="json", clock=world.clock))
    assert [(i["experiment"], i["arm"], i["sent_ms"]) for i in whole["invitations"]] == [("greeting", "B", None)]


async def test_the_digest_counts_who_came_in_and_erasure_takes_a_person_out(world: World) -> None:
    trials = [Trial.model_validate(data) for data in described(world.koe.shop, world.koe.library)]
    specs = specs_of(bundled_instruments())
    tz = world.koe.shop.tz

    async def counts() -> list[tuple[int, int]]:
        now_ms = world.clock.now_ms()
        (found,) = await world.koe.store.read(
            lambda tx: reports_of(tx, trials, now_ms=now_ms, tz=tz, instruments=specs)
        )
        assert (found.state, found.trial.measurement, found.changed) == ("counting", True, False)
        return [(arm.entered, arm.n) for arm in found.arms]

    await world.advance(HOUR_MS)
    assert await counts() == [(2, 1), (4, 2)]
    gone = next(
        exposure.customer_id
        for exposure in await world.koe.store.read(lambda tx: tx.exposures("greeting"))
        if exposure.arm == "A"
    )
    await world.koe.store.write(lambda tx: tx.erase_customer(gone, world.clock.now_ms()))
    assert (await counts())[0][0] == 1


async def test_a_changed_experiment_does_not_start_again(world: World, tmp_path: Path) -> None:
    from bot.check import examine

    environ = {
        "KOE_CONFIG": str(tmp_path / "koe.yaml"),
        "KOE_DATABASE_URL": world.koe.settings.database_url,
    }
    written = json.loads((world.directory / "koe.yaml").read_text("utf-8"))

    def problems(**changes: object) -> list[str]:
        written["experiments"] = [{**EXPERIMENT, **changes}]
        (tmp_path / "koe.yaml").write_text(json.dumps(written), "utf-8")
        _, found = examine(environ=environ, env_file=None, serving=False, now_ms=world.clock.now_ms())
        return [problem.message for problem in found]

    assert problems() == []
    (sentence,) = problems(n_per_arm=20)
    assert "changed after its start on 2026-11-20; put it back as it was" in sentence
    (sentence,) = problems(id="another", start="2026-11-20")
    assert "its start 2026-11-20 has passed; an experiment is registered before it starts" in sentence
    assert problems(id="another", start="2027-01-10", end="2027-03-10") == []
