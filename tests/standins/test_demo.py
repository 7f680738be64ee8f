"""`koe demo`, as a stranger runs it: the page in a real browser, and the story by itself."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.standins.demo import PRESENT, open_world
from bot.standins.play import Play, StoryFailedError
from bot.standins.run import play

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
KOE = [sys.executable, "-m", "bot.cli"]


def run_story(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*KOE, "demo", "--headless", *options], capture_output=True, text=True, timeout=600)


@pytest.mark.timeout(620)
def test_the_headless_story_shows_what_each_person_saw_and_ends_well() -> None:
    story = run_story("--weeks", "1")
    assert story.returncode == 0, story.stdout[-3000:] + story.stderr[-3000:]
    assert story.stdout.rstrip().endswith("終わり")
    for seen in ("LINE・", "Slack DM・", "#voc-alerts", "#voc-digest", "NPS®", "申し訳ございません", "95%信頼区間"):
        assert seen in story.stdout, f"{seen} is missing"
    # from /survey to "are you all right now?", in this order
    loop = (
        "送れます。",
        "「手ぬぐいに、しみがありました。」",
        "お客さま窓口の高木です。",
        "新しい手ぬぐいを本日お送りします。",
        "お客さまの返信がカードのスレッドに届く",
        "カードが解決になる",
        "先日の件は、その後いかがでしょうか。",
        "解決 @高木・再送を手配",
        "社内メモ：注文#",
    )
    at = 0
    for seen in loop:
        at = story.stdout.find(seen, at)
        assert at >= 0, f"{seen} is missing, or too early"


async def test_a_story_that_goes_wrong_names_the_step(tmp_path: Path) -> None:
    world = await open_world(tmp_path, start_ms=int(PRESENT.timestamp() * 1000), shop={"triggers": []})
    told: list[str] = []
    with pytest.raises(StoryFailedError) as failed:
        await Play(world, say=told.append).run()
    assert failed.value.step == "購入のあと、アンケートが届く"
    assert "what was there instead" in str(failed.value)
    assert not any(line.startswith("✓") for line in told)
    await world.close()


@pytest.mark.prove
@pytest.mark.timeout(620)
@pytest.mark.parametrize("options", [(), ("--socket",)])
def test_the_headless_story_ends_well_after_its_usual_history_on_either_way_to_slack(options: tuple[str, ...]) -> None:
    story = run_story(*options)
    assert story.returncode == 0, story.stdout[-3000:] + story.stderr[-3000:]


async def test_a_folder_that_holds_a_demo_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "koe.db").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="holds a demo already"):
        await play(tmp_path, weeks=1)
    assert (tmp_path / "koe.db").read_bytes() == b"mine"


@pytest.fixture(scope="module")
def demo() -> Iterator[str]:
    """The address of a running `koe demo`; it must end cleanly at Ctrl-C."""
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    command = [*KOE, "demo", "--port", "0", "--weeks", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)
    assert process.stdout is not None
    found = None
    deadline = time.monotonic() + 600
    while found is None and time.monotonic() < deadline:
        line = process.stdout.readline()
        assert line or process.poll() is None, "koe demo ended by itself"
        found = re.search(r"http://\S+", line)
    assert found is not None, "koe demo printed no address"
    yield found[0]
    process.send_signal(signal.SIGINT)
    with process.stdout:
        assert process.wait(timeout=60) == 0


@pytest.mark.browser
@pytest.mark.timeout(620)
@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium: apt-get install chromium fonts-noto-cjk")
async def test_somebody_answers_a_whole_survey_on_the_page_and_reads_the_digest(demo: str) -> None:
    from playwright.async_api import async_playwright, expect

    expect.set_options(timeout=300_000)  # only a test that fails waits so long
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        page = await browser.new_page(viewport={"width": 1440, "height": 900})
        troubles: list[str] = []
        page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        await page.goto(f"{demo}/?lang=ja")
        chat, slack = page.locator("#chat"), page.locator("body")

        async def tap(label: str) -> None:
            await chat.get_by_role("button", name=label, exact=True).last.click()

        async def type_in(words: str) -> None:
            await page.fill("#line-text", words)
            await page.press("#line-text", "Enter")

        # until the new customer's chat opens, somebody else's old one is there
        customer = page.locator("#customer")
        before = await customer.input_value()
        await page.get_by_role("button", name="購入", exact=True).click()
        await expect(customer).not_to_have_value(before)
        await expect(chat.locator(".row.mine")).to_have_count(0)
        await expect(chat).to_contain_text("どの程度満足していますか")
        await tap("不満")
        await expect(chat).to_contain_text("薦める可能性")
        await type_in("２点")
        await expect(chat).to_contain_text("理由を教えてください")
        await type_in("箱がつぶれていて、贈り物に使えませんでした")
        await expect(chat).to_contain_text("愛着度")
        await tap("3")
        await expect(chat).to_contain_text("申し訳ございません")
        await tap("連絡を希望する")
        await expect(chat).to_contain_text("ご連絡します")
        await page.locator("#channels button").filter(has_text="voc-alerts").click()
        await expect(slack).to_contain_text("要対応・満足度 不満・薦める可能性 2点")

        await page.get_by_role("button", name="1週間すすめる").click()
        await expect(slack).to_contain_text("11月26日")
        await page.locator("#channels button").filter(has_text=re.compile("voc-digest$")).click()
        await expect(slack).to_contain_text("週次レポート")
        await expect(slack).to_contain_text("95%信頼区間")
        assert troubles == []
        await browser.close()
