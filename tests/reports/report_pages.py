"""A shop with segments, channels and touchpoints, and the page of its digest."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from report_history import NOW_MS, SHOP, TOKYO, WEEK, WEEKLY, History, weeks_ago

from reports.digest import DigestContext, DigestRule, Shop, gather
from reports.instruments import bundled_instruments, specs_of
from reports.page.page import render_page
from reports.page.views import Views, gather_views
from storage.store import Tx, open_store

STORES = {"渋谷店": 4, "オンライン": 8, "新宿店": 3, "梅田店": 0.6}
_NPS = (1, 1, 1, 1, 2, 5, 4, 7, 10, 8, 7)


def busy_shop(*, a_week: tuple[int, int] = (30, 60), weeks: int = 12, seed: int = 1) -> History:
    """Answers of so many weeks; 梅田店 has so few that it is never shown, 新宿店 fewer than ten in the last week."""
    chance, history = random.Random(seed), History()
    for back in range(weeks):
        for _ in range(chance.randint(*a_week)):
            where = {
                "monday": weeks_ago(back),
                "segment": chance.choices(list(STORES), list(STORES.values()))[0],
                "channel": chance.choices(["line", "slack"], [8, 1])[0],
            }
            history.answer("nps", chance.choices(range(11), _NPS)[0], **where)  # type: ignore[arg-type]
            history.answer("sat5", chance.choices(range(1, 6), (1, 2, 3, 6, 5))[0], **where)  # type: ignore[arg-type]
            if chance.random() < 0.5:
                code = chance.choices(range(1, 6), (2, 3, 3, 5, 3))[0]
                history.answer("sat5", code, touchpoint="support", **where)  # type: ignore[arg-type]
    history.invite_everyone()
    return history


async def views_of(
    history: History, folder: Path, *, shop: Shop = SHOP, rule: DigestRule = WEEKLY, period: str = WEEK
) -> tuple[DigestContext, Views]:
    """The digest of a history and its views, through a real database file."""
    store = await open_store(f"sqlite:///{folder / 'koe.db'}", now_ms=NOW_MS)
    specs = specs_of(bundled_instruments())

    def unit(tx: Tx) -> tuple[DigestContext, Views]:
        found = gather(tx, shop=shop, digest_rule=rule, period=period, now_ms=NOW_MS, tz=TOKYO, instruments=specs)
        return found.computed(), gather_views(tx, found, rule=rule, shop=shop, tz=TOKYO)

    try:
        await store.write(history.store)
        return await store.read(unit)
    finally:
        await store.close()


def page_in(language: str, context: DigestContext, views: Views) -> dict[str, str]:
    """The page of a digest in a language."""
    brand = SHOP.brand[language] if context.brand in SHOP.brand.values() else context.brand
    return render_page(replace(context, language=language, brand=brand), views, tz=TOKYO)  # type: ignore[arg-type]
