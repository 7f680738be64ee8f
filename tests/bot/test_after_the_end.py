"""What a customer may still do after a survey has ended: take the offer of contact in words, send the photos they were
asked for, correct, erase. Everything else they write belongs to the shop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import pytest

from bot.standins.demo import DAY_MS, HOUR_MS, PRESENT, Buyer, World, open_world

_READING_MS = 8_000


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_world(tmp_path, start_ms=round(PRESENT.timestamp() * 1000), shop={"digests": []})
    yield opened
    await opened.close()


async def _asked(world: World, about: Literal["purchase", "support"] = "purchase") -> Buyer:
    buyer = world.new_buyer("ja")
    await (world.purchase(buyer) if about == "purchase" else world.support_case(buyer))
    await world.until(lambda: bool(world.line.chat(buyer.line_user_id)), within_ms=DAY_MS)
    return buyer


async def _talk(world: World, buyer: Buyer, *words: str) -> str:
    """The words are typed, or tapped when they stand in [ ]; what Koe said to the last of them."""
    before = 0
    for said in words:
        before = len(world.line.transcript(buyer.line_user_id))
        if said.startswith("["):
            await world.line.taps_label(buyer.line_user_id, said.strip("[]"))
        else:
            await world.line.says(buyer.line_user_id, said)
        await world.advance(_READING_MS)
    return world.line.transcript(buyer.line_user_id)[before:]


async def _answers(world: World, buyer: Buyer) -> dict[str, str]:
    found = await world.koe.store.read(lambda tx: tx.answers_of(buyer.customer_id))
    return {answer.question: answer.value for answer in found}


async def test_answers_so_far_are_erased_when_somebody_who_stopped_wants_it(world: World) -> None:
    buyer = await _asked(world)
    assert "ここまでの回答を消す" in await _talk(world, buyer, "満足", "やめる")
    assert "ご回答を削除しました" in await _talk(world, buyer, "[ここまでの回答を消す]")
    assert await _answers(world, buyer) == {}
    assert "保管しているご回答はありません" in await _talk(world, buyer, "私の回答")
    assert await world.koe.store.read(lambda tx: tx.check_integrity()) == []


async def test_my_answers_can_be_corrected_after_the_survey(world: World) -> None:
    buyer = await _asked(world)
    await _talk(world, buyer, "満足", "9", "書かずに進む", "4", "特にない", "期待どおり")
    assert "先ほどのご回答は「満足」です" in await _talk(world, buyer, "私の回答", "[訂正する]")
    assert "「満足」から「やや満足」に変更しました" in await _talk(world, buyer, "[やや満足]")
    assert (await _answers(world, buyer))["sat"] == "4"


async def test_a_survey_that_was_broken_off_offers_no_correction(world: World) -> None:
    buyer = await _asked(world)
    mine = await _talk(world, buyer, "満足", "やめる", "私の回答")
    assert "[削除する]" in mine
    assert "[訂正する]" not in mine


async def test_the_offer_of_contact_is_taken_in_words_and_photos_join_the_case(world: World) -> None:
    buyer = await _asked(world, "support")
    assert "連絡を希望する" in await _talk(world, buyer, "7", "不満", "書かずに進む")
    assert "担当者からこのトークでご連絡します" in await _talk(world, buyer, "お願いします")
    case = await world.koe.store.read(lambda tx: tx.open_case(buyer.customer_id))
    assert case is not None
    assert case.contact == "yes"
    before = len(world.line.transcript(buyer.line_user_id))
    await world.line.sends_photo(buyer.line_user_id)
    await world.advance(_READING_MS)
    assert "写真を受け取りました" in world.line.transcript(buyer.line_user_id)[before:]
    assert "Koe:" not in await _talk(world, buyer, "今日は営業していますか", "はい")


async def test_an_answer_in_words_counts_late_for_three_days_and_then_belongs_to_the_shop(world: World) -> None:
    buyer = await _asked(world)
    await _talk(world, buyer, "満足")
    await world.advance(7 * DAY_MS + HOUR_MS)
    assert "Koe:" not in await _talk(world, buyer, "すみません")
    assert "受付期間は過ぎていますが" in await _talk(world, buyer, "9")
    await world.advance(4 * DAY_MS)
    assert "Koe:" not in await _talk(world, buyer, "8")
    assert (await _answers(world, buyer))["nps"] == "9"


async def _card(world: World) -> str:
    await world.advance(HOUR_MS)
    return world.slack.transcript("C0ALERTS")


async def test_erased_answers_go_from_the_card_that_staff_have_seen_and_from_every_table(world: World) -> None:
    buyer = await _asked(world)
    await _talk(world, buyer, "不満", "3", "秘密の苦情です", "2")
    assert "秘密の苦情です" in await _card(world)
    assert "ご回答を削除しました" in await _talk(world, buyer, "私の回答", "削除", "[削除する]")
    card = await _card(world)
    assert "お客さまのご希望により、内容を消去しました。" in card
    assert "秘密" not in card
    assert await world.koe.store.read(lambda tx: tx.open_case(buyer.customer_id)) is None
    await world.koe.store.compact()
    assert "秘密の苦情です".encode() not in b"".join(file.read_bytes() for file in world.directory.glob("koe.db*"))


async def test_a_promise_outlives_the_erasure_of_what_was_said(world: World) -> None:
    buyer = await _asked(world)
    await _talk(world, buyer, "満足", "9", "サイズが合わないので交換できますか", "削除", "[削除する]")
    card = await _card(world)
    assert "連絡希望：あり" in card
    assert "交換" not in card


async def test_somebody_unhappy_who_stops_surveys_is_still_shown_to_staff(world: World) -> None:
    buyer = await _asked(world)
    await _talk(world, buyer, "不満", "配信停止", "[停止する]")
    assert "要対応・満足度 不満" in await _card(world)


async def test_a_correction_after_the_card_is_told_to_staff(world: World) -> None:
    buyer = await _asked(world)
    await _talk(world, buyer, "不満", "3", "書かずに進む", "2")
    await _card(world)
    await _talk(world, buyer, "[満足]")
    await _talk(world, buyer, "[9]")
    assert "お客さまが3点から9点に訂正しました。" in await _card(world)
