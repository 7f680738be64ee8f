"""Pictures of the demo as a stranger sees it: README's, and the page on a desk and on a phone (`make screenshots`)."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from persons import START_MS
from playwright.async_api import Browser, Page, async_playwright, expect

from bot.standins import serve
from bot.standins.demo import DAY_MS, open_world
from bot.standins.history import live_through
from bot.standins.page import page_app
from bot.standins.story import Story

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
FOLDER = Path(__file__).parents[2] / "docs" / "images"
LIMIT = 300_000
"""Bytes of a picture."""
WEEKS = 12
LONG_MS = 600_000
"""How long a machine may take over a step."""
WORDS: Final = {
    "ja": {
        "purchase": "購入",
        "week": "1週間すすめる",
        "low": "不満",
        "reason": "箱がつぶれていて、贈り物にできませんでした",
        "asked": ["どの程度満足していますか", "薦める可能性", "理由を教えてください", "愛着度"],
        "sorry": "申し訳ございません",
        "digest": "voc-digest",
        "speaks": "（日本語）",
        "report": "週次レポート",
    },
    "en": {
        "purchase": "Purchase",
        "week": "A week passes",
        "low": "Dissatisfied",
        "reason": "The box was crushed, I couldn't give it as a present",
        "asked": ["How satisfied are you", "How likely", "main reason", "attachment"],
        "sorry": "We're sorry we let you down",
        "digest": "voc-digest-en",
        "speaks": "(English)",
        "report": "Weekly report",
    },
}

pytestmark = [
    pytest.mark.screenshots,
    pytest.mark.browser,
    pytest.mark.timeout(1_800),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not CHROMIUM, reason="Debian's chromium is not installed: apt-get install chromium"),
]


@dataclass(slots=True)
class Demo:
    """`koe demo` after its twelve weeks, and a browser."""

    url: str
    browser: Browser
    story: Story

    async def look(self, lang: str, *, width: int = 1440, height: int = 900, dark: bool = False) -> Page:
        tab = await self.browser.new_page(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", locale=lang
        )
        tab.set_default_timeout(LONG_MS)
        await tab.goto(f"{self.url}/?lang={lang}")
        await expect(tab.locator("#clock")).to_contain_text(":")
        return tab


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def demo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Demo]:
    expect.set_options(timeout=LONG_MS)
    world = await open_world(tmp_path_factory.mktemp("demo"), start_ms=START_MS - WEEKS * 7 * DAY_MS)
    await live_through(world, WEEKS)
    await world.koe.schedule()
    story = Story(world)
    page = page_app(line=world.line, slack=world.slack, story=story)
    served = await serve(page)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--no-first-run"]
        )
        yield Demo(served.url, browser, story)
        await browser.close()
    page.state.stop()
    await served.close()
    await world.close()


async def kept(tab: Page, name: str) -> None:
    await tab.evaluate("document.activeElement.blur()")
    drawn = FOLDER / f"{name}.png"
    await tab.screenshot(path=drawn, animations="disabled", caret="hide")
    assert drawn.stat().st_size < LIMIT
    await tab.close()


async def answers(demo: Demo, tab: Page, lang: str) -> None:
    """An unhappy customer, from the purchase to the card."""
    words = WORDS[lang]
    chat = tab.locator("#chat")
    await tab.get_by_role("button", name=str(words["purchase"]), exact=True).click()
    satisfied, likely, reason, attachment = words["asked"]
    await expect(chat).to_contain_text(satisfied)
    await expect(chat).not_to_contain_text(likely)
    await chat.get_by_role("button", name=str(words["low"]), exact=True).last.click()
    await expect(chat).to_contain_text(likely)
    await chat.get_by_role("button", name="2", exact=True).last.click()
    await expect(chat).to_contain_text(reason)
    await tab.fill("#line-text", str(words["reason"]))
    await tab.press("#line-text", "Enter")
    await expect(tab.locator(".row.mine").last).to_contain_text(str(words["reason"]))
    await demo.story.world.advance(8_000)
    await expect(chat).to_contain_text(attachment)
    await chat.get_by_role("button", name="1", exact=True).last.click()
    await expect(chat).to_contain_text(str(words["sorry"]))
    await demo.story.world.advance(6 * 60_000)
    await tab.locator("#channels button").filter(has_text="voc-alerts").click()
    await expect(tab.locator("#messages .post").filter(has_text=str(words["reason"]))).to_be_visible()


@pytest.mark.parametrize("lang", ["ja", "en"])
async def test_an_unhappy_customer_and_the_card(demo: Demo, lang: str) -> None:
    tab = await demo.look(lang)
    await answers(demo, tab, lang)
    await kept(tab, f"demo-survey-{lang}")


async def test_the_page_wide_narrow_and_dark(demo: Demo) -> None:
    for name, dark, width, height in (
        ("demo-page-ja", False, 1440, 900),
        ("demo-page-en-dark", True, 1440, 900),
        ("demo-page-phone-ja", False, 390, 844),
        ("demo-page-phone-en-dark", True, 390, 844),
    ):
        lang = "en" if "-en" in name else "ja"
        tab = await demo.look(lang, width=width, height=height, dark=dark)
        await tab.get_by_role("button", name=str(WORDS[lang]["purchase"]), exact=True).click()
        await expect(tab.locator("#chat")).to_contain_text(WORDS[lang]["asked"][0])
        await kept(tab, name)


async def test_the_digest_of_the_week(demo: Demo) -> None:
    tab = await demo.look("ja")
    await tab.get_by_role("button", name=str(WORDS["ja"]["week"]), exact=True).click()
    await expect(tab.locator("#clock")).to_contain_text("11月26日")
    await tab.close()
    for lang in ("ja", "en"):
        words = WORDS[lang]
        tab = await demo.look(lang)
        somebody = tab.locator("#customer option").filter(has_text=str(words["speaks"])).first
        await tab.select_option("#customer", value=await somebody.get_attribute("value"))
        await tab.locator("#channels button").filter(has_text=re.compile(f"{words['digest']}$")).click()
        first = tab.locator("#messages .post:not(.reply)").filter(has=tab.locator(".b-image img")).last
        await expect(first).to_be_visible()
        await first.evaluate("node => node.scrollIntoView({block: 'start'})")
        await kept(tab, f"demo-digest-{lang}")
