"""The report page in a browser: light, dark, phone and paper; read, filtered and opened by keyboard; no complaint."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect
from report_pages import busy_shop, page_in, views_of
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from bot.reports import HEADERS
from bot.standins import serve
from reports.drivers.analysis import Driver, DriverAnalysis
from reports.metrics import Span, Stratum

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
PICTURES = os.environ.get("REWRITE_PICTURES", "")
"""A folder for screenshots, such as docs/images; "" takes none."""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not CHROMIUM, reason="Debian's chromium is not installed: apt-get install chromium"),
]

DRIVERS = DriverAnalysis(
    block="purchase", stratum=Stratum(), window=Span("2026-07-01", "2026-10-01"), n=240, incomplete=12, minimum=100,
    why_not="", r2=0.41,
    drivers=tuple(
        Driver(instruments=(name,), lmg=share / 244, share=share, low=share - 8, high=share + 8, rho=0.4,
               performance=good, place=place, undecided=undecided, priority=share * (100 - good) / 100, model_sign=1)
        for name, share, good, place, undecided in (
            ("exp_delivery", 44.0, 52.0, "improve", False), ("exp_packaging", 27.0, 78.0, "keep", True),
            ("exp_info", 17.0, 58.0, "watch", False), ("exp_checkout", 12.0, 83.0, "overdone", False),
        )
    ),  # type: ignore[arg-type]
)  # fmt: skip
"""As an analysis of a quarter gives it; the names are those of bundled questions."""

# every text with the colours that a person sees: its own, and that of what lies behind it
CONTRASTS = """() => {
  const parse = c => {
    const m = c.match(/[\\d.]+/g).map(Number);
    return m.length > 3 && m[3] === 0 ? null : m.slice(0, 3);
  };
  const linear = v => v <= 10.3 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4;
  const lum = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const bad = [];
  const seen = e => e.getClientRects().length && getComputedStyle(e).visibility !== 'hidden';
  const words = 'p,h1,h2,h3,td,th,dt,dd,summary,figcaption,button,select,label,svg text';
  for (const e of document.querySelectorAll(words)) {
    if (!seen(e) || !e.textContent.trim() || e.closest('.vh,.skip')) continue;
    const s = getComputedStyle(e);
    const fore = parse(e.tagName === 'text' ? s.fill : s.color);
    let back = null;
    if (e.tagName === 'text') {
      const box = e.getBoundingClientRect();
      const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
      const shapes = [...e.ownerSVGElement.querySelectorAll('rect,circle,polygon')].filter(r => {
        const b = r.getBoundingClientRect();
        return r.compareDocumentPosition(e) & 4 && b.x <= x && x <= b.right && b.y <= y && y <= b.bottom;
      });
      for (const shape of shapes.reverse()) { back = parse(getComputedStyle(shape).fill); if (back) break; }
    }
    for (let up = e; !back && up; up = up.parentElement) back = parse(getComputedStyle(up).backgroundColor);
    const [a, b] = [lum(fore), lum(back || [255, 255, 255])].sort((p, q) => q - p);
    if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(`${e.tagName} ${e.textContent.trim().slice(0, 30)} ${fore} on ${back}`);
  }
  return bad;
}"""
# texts of one chart that cover each other, and texts that leave their chart
OVERLAPS = """() => {
  const bad = [];
  for (const svg of document.querySelectorAll('svg')) {
    if (!svg.getClientRects().length) continue;
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
    for (const [said, b] of texts)
      if (b.left < frame.left - 1 || b.right > frame.right + 1 || b.top < frame.top - 1 || b.bottom > frame.bottom + 1)
        bad.push(`${said} leaves its chart`);
    for (let i = 0; i < texts.length; i++) for (let j = i + 1; j < texts.length; j++) {
      const [[s, a], [t, b]] = [texts[i], texts[j]];
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const tall = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (wide > 1 && tall > 3) bad.push(`${s} / ${t}`);
    }
  }
  return bad;
}"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def address(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Where a busy shop's page is served in both languages, with the headers that the bot gives it."""
    context, views = await views_of(busy_shop(), tmp_path_factory.mktemp("page"))
    context = replace(context, drivers=(DRIVERS,))
    made = {language: page_in(language, context, views) for language in ("ja", "en")}

    async def page(request: Request) -> Response:
        found = made[request.path_params["language"]]
        return HTMLResponse(found["html"], headers={**HEADERS, "Content-Security-Policy": found["csp"]})

    server = await serve(Starlette(routes=[Route("/{language}", page)]))
    yield server.url
    await server.close()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def open_page(chromium: Browser, address: str) -> AsyncIterator[Callable[..., Any]]:
    """Opens the page; at the end no tab may have complained, of a script or of the content security policy."""
    complaints: list[str] = []
    contexts = []

    async def open_one(path: str = "ja", **options: Any) -> Page:
        context = await chromium.new_context(**({"viewport": {"width": 1000, "height": 900}} | options))
        contexts.append(context)
        tab = await context.new_page()
        # a browser asks for an icon by itself
        tab.on("console", lambda said: None if "favicon" in said.text else complaints.append(said.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        await tab.goto(f"{address}/{path}")
        return tab

    yield open_one
    for context in contexts:
        await context.close()
    assert complaints == []


async def taken(tab: Page, name: str, **options: Any) -> None:
    if PICTURES:
        await tab.screenshot(path=Path(PICTURES) / f"{name}.png", **options)


@pytest.mark.parametrize("language", ["ja", "en"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_light_and_dark_can_be_read_and_no_label_covers_another(
    open_page: Callable[..., Any], language: str, scheme: str
) -> None:
    tab = await open_page(language, color_scheme=scheme)
    assert await tab.evaluate(CONTRASTS) == []
    assert await tab.evaluate(OVERLAPS) == []
    await taken(tab, f"report-page-{language}-{scheme}")


@pytest.mark.parametrize("language", ["ja", "en"])
async def test_on_a_phone_nothing_is_cut_off_and_charts_are_drawn_to_fit(
    open_page: Callable[..., Any], language: str
) -> None:
    tab = await open_page(language, viewport={"width": 390, "height": 844}, device_scale_factor=1)
    assert await tab.evaluate("document.documentElement.scrollWidth") == 390
    sizes = await tab.evaluate("""() => [...document.querySelectorAll('svg')].filter(s => s.getClientRects().length)
      .map(s => s.getBoundingClientRect().width / s.viewBox.baseVal.width)""")
    assert len(sizes) > 5
    assert min(sizes) * 11.5 >= 10, "labels of a chart stay readable"
    assert await tab.evaluate(OVERLAPS) == []
    for control in ("#scope", "#weeks", "#theme"):
        box = await tab.locator(control).bounding_box()
        assert box is not None
        assert box["height"] >= 40
    await tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert await tab.evaluate("document.documentElement.scrollWidth") == 390, "tables scroll by themselves"
    await tab.evaluate("document.querySelectorAll('details').forEach(one => { one.open = false; })")
    if language == "ja":
        await tab.set_viewport_size({"width": 390, "height": 1600})
        await taken(tab, "report-page-phone-ja")


async def test_filters_show_one_scope_and_one_period_and_the_address_keeps_them(open_page: Callable[..., Any]) -> None:
    tab = await open_page("ja")
    await tab.locator("#weeks").select_option(label="直近4週")
    await tab.locator("#scope").select_option(label="渋谷店")
    panels = tab.locator(".panel:visible")
    await expect(panels).to_have_count(1)
    await expect(panels.locator("h3")).to_contain_text("渋谷店")
    line, response, heat = await tab.locator("[data-scope]:not([data-weeks]):visible").all()
    for part in (line, response, heat):
        await expect(part).to_contain_text("渋谷店")
    await expect(response.locator(".metric")).to_have_count(2)
    # what stands for everybody all the same says so, and why
    sections = tab.locator("main > section:visible:not(:has([data-scope])):not([data-weeks]), main > .lead")
    for section in await sections.all():
        name = await section.locator("h2, .head").first.inner_text()
        if name != "補足":
            await expect(section.locator(".whole:visible"), name).to_have_count(1)
    await expect(tab.locator(".whole:visible").last).to_contain_text("全体")
    metrics = tab.locator(".choice:visible")
    await expect(metrics).to_have_count(1)
    await expect(metrics.locator(".note").first).to_contain_text("渋谷店")
    await expect(metrics.locator(".metric")).to_have_count(3)
    await tab.reload()
    await expect(tab.locator(".panel:visible h3")).to_contain_text("渋谷店")
    await tab.locator("#weeks").select_option(label="直近1週")
    await tab.locator("#scope").select_option(label="全体")
    await expect(tab.locator(".whole:visible")).to_have_count(0)


async def test_a_hidden_week_says_why_instead_of_a_number(open_page: Callable[..., Any]) -> None:
    tab = await open_page("ja")
    await tab.locator("#scope").select_option(label="Slack")
    await tab.locator("#weeks").select_option(label="直近1週")
    shown = tab.locator(".panel:visible")
    await expect(shown.locator(".big")).to_have_text("n<10 のため非表示")
    await shown.locator("summary").first.click()
    await expect(shown.locator("dd").last).to_contain_text("10件未満")


async def test_how_a_number_is_made_opens_by_keyboard_with_its_formula_and_counts(
    open_page: Callable[..., Any],
) -> None:
    tab = await open_page("ja")
    await tab.keyboard.press("Tab")
    await expect(tab.locator(".skip")).to_be_focused()
    how = tab.locator("details.how:visible").first
    await how.locator("summary").focus()
    await tab.keyboard.press("Enter")
    await expect(how).to_have_attribute("open", "")
    told = await how.inner_text()
    for word in ("計算式", "100 ×", "有効", "無回答", "95%信頼区間", "非表示の扱い"):
        assert word in told
    await taken(tab, "report-page-how-ja")


async def test_every_chart_has_a_name_a_description_and_a_table_behind_it(open_page: Callable[..., Any]) -> None:
    tab = await open_page("en")
    missing = await tab.evaluate("""() => [...document.querySelectorAll('svg')].filter(svg => {
      const named = (svg.getAttribute('aria-labelledby') || '').split(' ').map(id => document.getElementById(id));
      return svg.getAttribute('role') !== 'img' || named.length !== 2 || named.some(e => !e || !e.textContent.trim())
        || !svg.closest('figure, .spark').querySelector('details table tbody tr');
    }).length""")
    assert missing == 0
    order = await tab.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(h => Number(h.tagName[1]))")
    assert order[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(order))
    assert await tab.evaluate("document.documentElement.lang") == "en"


async def test_the_button_turns_light_into_dark_and_back(open_page: Callable[..., Any]) -> None:
    tab = await open_page("ja", color_scheme="light")
    paper = "getComputedStyle(document.querySelector('section')).backgroundColor"
    assert await tab.evaluate(paper) == "rgb(255, 255, 255)"
    await tab.locator("#theme").click()
    assert await tab.evaluate(paper) == "rgb(20, 24, 30)"
    await tab.locator("#theme").click()
    assert await tab.evaluate(paper) == "rgb(255, 255, 255)"


async def test_on_paper_it_is_light_without_controls_and_holds_every_section(
    open_page: Callable[..., Any], tmp_path: Path
) -> None:
    tab = await open_page("ja", color_scheme="dark")
    await tab.emulate_media(media="print", color_scheme="dark")
    assert await tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert await tab.locator(".filters").is_hidden()
    assert await tab.locator("#theme").is_hidden()
    assert await tab.locator("details:visible").count() == 0, "nobody opens anything on paper"
    assert await tab.evaluate(CONTRASTS) == []
    paper = await tab.pdf(path=tmp_path / "page.pdf", format="A4")
    assert paper.startswith(b"%PDF")
    await tab.set_viewport_size({"width": 794, "height": 1123})
    await taken(tab, "report-page-print-ja")


async def test_without_scripts_the_digest_s_own_numbers_are_there(open_page: Callable[..., Any]) -> None:
    tab = await open_page("ja", java_script_enabled=False)
    await expect(tab.locator(".panel:visible")).to_have_count(1)
    await expect(tab.locator(".filters")).to_be_hidden()
