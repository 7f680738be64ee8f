"""The page behind a digest: the same numbers, nothing under ten, nothing that runs but its own script."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from report_history import SHOP, History, monday_ms, weeks_ago
from report_pages import busy_shop, page_in, views_of
from test_digest import SCENES, scene

from reports.digest import DigestRule, Shop
from reports.metrics import Span
from reports.page.how import How
from reports.page.page import digest_chart, render_page
from reports.page.views import EVERYBODY, Scope
from reports.render import render_json
from reports.sample import TZ, samples
from reports.words import Words
from storage.records import Answer

PAYLOADS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title><svg onload=alert(1)>",
    "</desc></svg><script>1</script>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "<!channel> *太字* & &amp; ]]>",
    "a\x00b\u202ec\ud800d\x1b[2J",
    "=1+1＝＋－＠",
]


@dataclass
class Source(HTMLParser):
    """What a browser makes of the page: elements with their attributes, and the words of each panel."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    panels: dict[tuple[str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[tuple[str, tuple[str, str] | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        if tag in ("meta", "br", "link", "input"):
            return
        inside = self._open[-1][1] if self._open else None
        if tag == "div" and found.get("class") == "panel":
            inside = (str(found["data-scope"]), str(found["data-weeks"]))
        self._open.append((tag, inside))

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open and (key := self._open[-1][1]) is not None:
            self.panels[key] = self.panels.get(key, "") + data


def read(html: str) -> Source:
    source = Source()
    source.feed(html)
    return source


@pytest.mark.parametrize("name", list(SCENES))
async def test_every_kind_of_week_has_a_page_with_the_digest_s_own_number(name: str, tmp_path: Path) -> None:
    context, views = await views_of(scene(name), tmp_path)
    own = context.primary.result
    if own.status in ("caution", "ok"):
        weeks = (context.week_end - context.window_start).days // 7
        mine = views.view(EVERYBODY, weeks).results[0]
        assert (mine.score, mine.ci_low, mine.ci_high, mine.n_valid, mine.n_missing) == (
            own.score,
            own.ci_low,
            own.ci_high,
            own.n_valid,
            own.n_missing,
        )
    for metric in views.metrics if views.views else ():
        row = next(r for r in context.rows if (r.spec, r.result.stratum.wording_id, r.result.stratum.touchpoint) ==
                   (metric.spec, metric.stratum.wording_id, metric.stratum.touchpoint))  # fmt: skip
        mine = metric.view(EVERYBODY, (context.week_end - context.window_start).days // 7).results
        if row.result.status in ("caution", "ok"):
            assert (mine[0].score, mine[0].ci_low, mine[0].n_valid) == (
                row.result.score, row.result.ci_low, row.result.n_valid,
            )  # fmt: skip
        else:
            assert mine == ()
    for language in ("ja", "en"):
        html = page_in(language, context, views)["html"]
        source = read(html)
        ids = [attributes["id"] for _, attributes in source.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        for row in (context.primary, *context.rows):
            if row.result.status in ("caution", "ok"):
                assert Words(language).score(row.result) in html
        for drawn in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
            ElementTree.fromstring(drawn)


async def test_the_policy_names_the_two_inlined_files_by_their_hashes_and_nothing_else(tmp_path: Path) -> None:
    context, views = await views_of(busy_shop(weeks=5), tmp_path)
    made = page_in("ja", context, views)
    for tag in ("style", "script"):
        (inlined,) = re.findall(rf"<{tag}>(.*?)</{tag}>", made["html"], re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inlined.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in made["csp"]
    assert made["csp"].startswith("default-src 'none'")
    assert "unsafe" not in made["csp"]
    for tag, attributes in read(made["html"]).elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form"), tag
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "src", "srcset")]
        assert str(attributes.get("href", "#")).startswith("#")


@pytest.mark.parametrize("payload", PAYLOADS)
async def test_no_name_becomes_markup_or_script(payload: str, tmp_path: Path) -> None:
    history = History()
    for back in range(3):
        for segment in (payload, "other"):
            history.nps(8, 4, 20, monday=weeks_ago(back), segment=segment)
    shop = Shop(brand={"ja": payload, "en": payload})
    context, views = await views_of(history, tmp_path, shop=shop)
    assert any(scope.dimension == "segment" for scope in views.scopes)
    made = page_in("ja", context, views)
    source = read(made["html"])
    tags = [tag for tag, _ in source.elements]
    assert tags.count("script") == 1
    assert "img" not in tags
    assert not [a for _, a in source.elements for name in a if name.startswith("on")]
    if "{{" in payload:
        assert "{{ 7 * 7 }}" in made["html"]
    for bad in ("\x00", "\u202e", "\ud800", "\x1b"):
        assert bad not in made["html"]
    for drawn in re.findall(r"<svg.*?</svg>", made["html"], re.DOTALL):
        for element in ElementTree.fromstring(drawn).iter():
            assert element.tag.rpartition("}")[2] in {
                "svg", "title", "desc", "text", "line", "rect", "circle", "polygon", "polyline",
            }  # fmt: skip
    chart = digest_chart(context, views)
    assert chart is not None
    assert base64.b64decode(chart["png"]).startswith(b"\x89PNG")


# --------------------------------------------------------------------------------------------- nothing under ten


async def test_a_small_segment_leaves_nothing_of_its_answers_in_the_file(tmp_path: Path) -> None:
    history = History()
    for back in range(4):
        history.nps(20, 10, 40, monday=weeks_ago(back), segment="大きい店")
        history.nps(9, 5, 20, monday=weeks_ago(back), segment="次の店")
    history.scores("nps", {10: 7}, segment="小さい店")  # 100.0 in a segment of seven
    context, views = await views_of(history, tmp_path)
    small = [view for view in views.views if view.scope == Scope("segment", "小さい店")]
    assert not [view for view in small if view.results]
    html = page_in("ja", context, views)["html"]
    assert "+100.0" not in html
    source = read(html)
    # with one part hidden, the next smallest goes too: else the whole minus the others would be the part
    shown = {scope.value for scope in views.scopes if scope.dimension == "segment"}
    assert shown == {"大きい店"}
    assert views.left_out == 2
    for number, scope in enumerate(views.scopes):
        for weeks in (1, 4, 12):
            if not views.view(scope, weeks).results:
                assert not re.search(r"\d+\.\d|n=", source.panels[(str(number), str(weeks))])


@pytest.mark.parametrize(
    ("seed", "a_week", "shown"),
    [(1, (18, 40), 5), (2, (18, 40), 5), (3, (18, 40), 5), (4, (10, 29), 5), (5, (8, 14), 4), (6, (4, 9), 2)],
)
async def test_no_sum_under_ten_can_be_computed_from_all_numbers_of_the_page(
    seed: int, a_week: tuple[int, int], shown: int, tmp_path: Path
) -> None:
    history = busy_shop(a_week=a_week, weeks=6, seed=seed)
    context, views = await views_of(history, tmp_path)
    told = json.loads(json.dumps(render_json(context)))
    lead = ("nps", "purchase")
    seen = {lead: [(view.scope, result.window) for view in views.views for result in view.results[:1]]}
    for line in views.trends:
        seen[lead] += [(line.scope, point.result.window) for point in line.points if point.result is not None]
    for metric in views.metrics:
        place = (metric.spec.id, metric.stratum.touchpoint)
        seen[place] = [(view.scope, result.window) for view in metric.views for result in view.results[:1]]
    assert views.heat_spec is not None
    for row in views.heat:
        place = (views.heat_spec.id, row.stratum.touchpoint)
        seen[place] += [(EVERYBODY, point.result.window) for point in row.points if point.result is not None]
    for row in views.heat_parts:
        place = (views.heat_spec.id, row.stratum.touchpoint)
        seen[place] += [(row.scope, point.result.window) for point in row.points if point.result is not None]
    assert set(seen) == {lead, ("sat5", "purchase"), ("sat5", "support")}
    for row in (told["primary"], *told["metrics"]):
        results = [row["result"], *row["trend"], row["change"]["earlier"]]
        results += [row["longer"]["earlier"]] if row["longer"] else []
        windows = [Span(**r["window"]) for r in results if r["status"] in ("caution", "ok")]
        seen[row["result"]["metric"], row["result"]["touchpoint"]] += [(EVERYBODY, window) for window in windows]
    for (instrument, touchpoint), totals in seen.items():
        answers = [a for a in history.answers if (a.instrument, a.touchpoint) == (instrument, touchpoint)]
        nothing_small_follows(answers, totals)
    assert sum(1 for view in views.views if view.results) >= shown, "hiding everything would be safe, too"
    others = [view for metric in views.metrics for view in metric.views if view.results]
    assert len(others) >= shown


def nothing_small_follows(answers: list[Answer], told: list[tuple[Scope, Span]]) -> None:
    """No sum of weeks, segments and channels under ten is a combination of these totals."""
    cells = sorted({(a.week, a.segment, a.channel) for a in answers})
    sizes = np.array([sum((a.week, a.segment, a.channel) == cell for a in answers) for cell in cells])
    totals = []
    for scope, span in told:
        at = {"segment": 1, "channel": 2}.get(scope.dimension)
        inside = [span.start <= cell[0] < span.end and (at is None or cell[at] == scope.value) for cell in cells]
        totals.append(inside)
    _, strengths, axes = np.linalg.svd(np.array(totals, dtype=float))
    open_parts = axes[(strengths > 1e-9).sum() :].T
    small = [place for place, n in enumerate(sizes) if n < 10]
    for k in (1, 2, 3):
        for chosen in combinations(small, k):
            if sizes[list(chosen)].sum() < 10:
                assert np.abs(open_parts[list(chosen)].sum(axis=0)).max() > 1e-7, [cells[c] for c in chosen]


def new(folder: Path) -> Path:
    folder.mkdir()
    return folder


async def responses(folder: Path, sizes: dict[str, tuple[int, ...]], *, every: str = "week") -> dict[str, str]:
    """Segment → status and "sibling" of the response rates on a page; sizes are invitations, the newest week first, of
    stores with forty answers a week."""
    history = History()
    for segment, weeks in sizes.items():
        for back, n in enumerate(weeks):
            history.nps(20, 0, 40, monday=weeks_ago(back), segment=segment)
            for session in history.sessions[-n:]:
                history.invite(session, segment)
    rule = DigestRule("weekly", every=every)  # type: ignore[arg-type]
    _, views = await views_of(history, folder, rule=rule, period="2026-W47" if every == "week" else "2026-11")
    return {
        part.scope.value: part.rate.status + (" sibling" if "sibling" in part.rate.flags else "")
        for part in views.answering
    }


async def test_the_response_of_segments_gives_no_handful_of_invitations_away(tmp_path: Path) -> None:
    several = {"大": (40, 40), "中": (12, 40), "小": (7, 40)}
    # the whole less the two others would be the seven
    found = await responses(new(tmp_path / "week"), several)
    assert found == {"大": "ok", "中": "suppressed sibling", "小": "suppressed"}
    enough = {"大": (40, 40), "中": (12, 40)}
    assert await responses(new(tmp_path / "enough"), enough) == {"大": "ok", "中": "caution"}
    # the month less the three weeks that were told would be five
    month = {"大": (40, 40, 40, 40), "中": (15, 15, 15, 5)}
    found = await responses(new(tmp_path / "month"), month, every="month")
    assert found == {"大": "suppressed sibling", "中": "suppressed sibling"}
    month["中"] = (15, 15, 15, 15)
    assert await responses(new(tmp_path / "sure"), month, every="month") == {"大": "ok", "中": "ok"}


async def test_no_block_says_its_heading_twice(tmp_path: Path) -> None:
    context, views = await views_of(busy_shop(weeks=3), tmp_path)
    for language in ("ja", "en"):
        html = page_in(language, context, views)["html"]
        following = dict(re.findall(r"<h2[^>]*>([^<]+)</h2>\s*<p[^>]*>([^<]+)<", html))
        assert len(following) >= 3
        assert not [heading for heading, first in following.items() if first.strip().startswith(heading)]


def test_the_parts_stand_in_the_order_of_the_digest() -> None:
    context, views = next(samples())
    headings = re.findall(r"<h2 id=[^>]*>([^<]+)</h2>", render_page(context, views, tz=TZ)["html"])
    order = [
        "回答の状況", "指標", "公表された値との比較", "お客さまの層", "信頼残高", "KPI", "KPIとの関連",
        "推奨度に関わる体験（ご購入、n=240）", "A/Bテスト", "言葉と話題", "ご不満への対応", "届く範囲",
        "データの質", "補足",
    ]  # fmt: skip
    # the sample has an analysis of each kind, some of one touchpoint
    assert [heading for heading in dict.fromkeys(headings) if heading in order] == order


HOWS = {"ja": ("計算式", "件数", "非表示の扱い"), "en": ("Formula", "In and out", "What is hidden")}


@pytest.mark.parametrize("number", range(10))
def test_each_number_chart_and_part_in_words_says_how_it_came_about(number: int) -> None:
    context, views = list(samples())[number]
    whole = tree_of(render_page(context, views, tz=TZ)["html"])
    parents = {child: parent for parent in whole.iter() for child in parent}
    places = {kind: [e for e in whole.iter() if kind == (e.get("class") or e.tag)] for kind in HOLDERS}
    for kind, elements in places.items():
        for element in elements:
            place = parents[element] if kind == "text" and element.tag == "div" else element
            near = (*place.findall("details"), *place.findall("div/details"))
            (how,) = (found for found in near if found.get("class") == "how")
            told = dict(zip((e.text for e in how.iter("dt")), (e.text for e in how.iter("dd")), strict=True))
            assert told
            assert all(told.values())
            if kind in ("text", "figure") or len(told) > 1:
                assert told.keys() >= set(HOWS[context.language]), told
    numbers = [e for e in whole.iter() if e.get("class") in ("score", "big")]
    held = {id(e) for kind in ("metric", "spark", "panel") for holder in places[kind] for e in holder.iter()}
    assert numbers
    assert all(id(e) in held for e in numbers)
    assert len(places["lead"]) == 1
    assert len(places["text"]) >= (4 if context.primary.result.score is None else 9)


HOLDERS = ("lead", "panel", "metric", "spark", "figure", "text")


def tree_of(html: str) -> ElementTree.Element:
    """The page as elements: what HTML may leave out is put in, styles and scripts are left out."""
    html = re.sub(r"<(style|script)>.*?</\1>|<!doctype html>", "", html, flags=re.DOTALL)
    html = re.sub(r"<(meta|br)([^>]*)>", r"<\1\2/>", html)
    return ElementTree.fromstring(re.sub(r" (hidden|selected)>", r' \1="">', html))


def test_a_part_in_words_says_how_many_of_its_numbers_are_hidden_and_why() -> None:
    context, _ = next(samples())
    assert len(context.segments) == 1
    few = replace(context.segments[0], n_valid=7, status="suppressed", score=None)
    derivable = replace(few, n_valid=12, flags=("sibling",))
    how = How(replace(context, segments=(*context.segments, few, few, derivable)), {"not_shown": "h", "formula": "f",
              "in_out": "n"})  # fmt: skip
    told = dict(how.of("segments"))
    assert told["n"] == "1個の値を表示しています（n=90）。"
    assert (
        told["h"]
        == "10件未満の2個を非表示にしています。ほかの値との引き算で10件未満の値が分かる1個を非表示にしています。"
    )


async def test_what_cannot_be_cut_names_the_dates_it_is_of(tmp_path: Path) -> None:
    context, views = await views_of(scene("rolling weeks"), tmp_path)
    html = page_in("ja", context, views)["html"]
    notes = re.findall(r'<p class="note whole" hidden>([^<]+)</p>', html)
    assert "絞り込みにかかわらず、全体・10/26〜11/22 の値です。" in notes[0]
    assert any(note.startswith("全体・11/16〜11/22 の値です。件数が少なく") for note in notes)


async def test_comments_are_never_on_the_page(tmp_path: Path) -> None:
    history = busy_shop(weeks=3)
    for _ in range(40):
        history.comment("箱がつぶれていて残念でした", 3)
    context, views = await views_of(history, tmp_path)
    assert "つぶれ" not in page_in("ja", context, views)["html"]


async def test_a_digest_of_one_segment_shows_no_other_and_can_still_be_split_by_channel(tmp_path: Path) -> None:
    history = History()
    for back in range(4):
        for channel in ("line", "slack"):
            history.nps(10, 5, 30, monday=weeks_ago(back), segment="渋谷店", channel=channel)
            history.nps(5, 5, 30, monday=weeks_ago(back), segment="新宿店", channel=channel)
    context, views = await views_of(history, tmp_path, rule=DigestRule("weekly", segment="渋谷店"))
    assert {scope.dimension for scope in views.scopes} == {"all", "channel"}
    assert views.view(EVERYBODY, 1).results[0].n_valid == 60
    assert "新宿店" not in page_in("ja", context, views)["html"]


async def test_every_metric_has_each_scope_and_period_of_the_page(tmp_path: Path) -> None:
    history = busy_shop(a_week=(140, 160), weeks=5)
    context, views = await views_of(history, tmp_path)
    assert [(metric.spec.id, metric.stratum.touchpoint) for metric in views.metrics] == [
        (row.spec.id, row.result.stratum.touchpoint) for row in context.rows
    ]
    shibuya = Scope("segment", "渋谷店")
    (found,) = views.metrics[0].view(shibuya, 4).results[:1]
    last_four = {weeks_ago(back).isoformat() for back in range(4)}
    given = [
        int(a.value)
        for a in history.answers
        if (a.instrument, a.touchpoint, a.segment) == ("sat5", "purchase", "渋谷店") and a.week in last_four
    ]
    assert (found.n_valid, found.score) == (
        len(given),
        pytest.approx(100 * sum(value >= 4 for value in given) / len(given)),
    )
    html = page_in("ja", context, views)["html"]
    choices = set(re.findall(r'class="choice" data-scope="(\d+)" data-weeks="(\d+)"', html))
    assert choices == {(str(s), str(w)) for s in range(len(views.scopes)) for w in (1, 4, 12)}
    assert Words("ja").score(found) in html


@pytest.mark.parametrize(("others", "shown"), [(9, False), (10, True), (0, True)])
async def test_a_page_of_one_segment_leaves_no_small_rest_of_everybody(
    others: int, shown: bool, tmp_path: Path
) -> None:
    history = History()
    history.nps(20, 10, 40, segment="渋谷店")
    history.nps(others, 0, others, segment="新宿店")
    history.scores("sat5", {5: 20, 3: 20}, segment="渋谷店")
    history.scores("sat5", {5: others}, segment="新宿店")
    _, views = await views_of(history, tmp_path, rule=DigestRule("weekly", segment="渋谷店"))
    for found in (views.views, views.metrics[0].views):
        assert {view.hidden for view in found if view.scope == EVERYBODY} == {"" if shown else "derivable"}


async def test_a_customer_with_answers_in_two_weeks_counts_once_in_four(tmp_path: Path) -> None:
    history = History()
    for number in range(20):
        history.answer("nps", 0, customer=f"same{number}", at_ms=monday_ms(weeks_ago(1)) + number, monday=weeks_ago(1))
        history.answer("nps", 10, customer=f"same{number}")
    context, views = await views_of(history, tmp_path)
    pooled = views.view(EVERYBODY, 4).results[0]
    assert (pooled.score, pooled.n_valid, pooled.n_superseded) == (100.0, 20, 20)
    assert [p.result.score for p in views.trend(EVERYBODY).points if p.result] == [-100.0, 100.0]
    assert SHOP.brand["ja"] in page_in("ja", context, views)["html"]
