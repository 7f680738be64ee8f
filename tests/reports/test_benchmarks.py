"""Published figures beside our scores: verdicts, what makes a figure incomparable, and what may be said of it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date
from pathlib import Path

import pytest
from report_history import SHOP, History, digest_of
from typer.testing import CliRunner

from bot.cli import app
from bot.config import Settings
from reports.answers.render import render_json, render_table
from reports.answers.report import measure_file
from reports.benchmarks import Benchmark, Standing, is_stale, standings
from reports.instruments import bundled_instruments, specs_of
from reports.metrics import Result, Span, Stratum, Tally, measure
from reports.render import render_json as digest_json
from reports.render import render_text, render_thread
from reports.words import Language, sentences_in

SPECS = specs_of(bundled_instruments())
ON = date(2026, 11, 23)
FIGURE = Benchmark(
    metric="nps", value=10.0, industry="retail", country="JP", year="2025", survey_kind="transactional",
    scale="0-10", source="A study",
)  # fmt: skip


def nps(promoters: int, detractors: int, n: int) -> Result:
    counted = Tally({9: promoters, 5: detractors, 8: n - promoters - detractors})
    return measure(SPECS["nps"], counted, stratum=Stratum("transactional", "purchase"), window=Span())[0]


def sentence(standing: Standing, lang: Language) -> str:
    return sentences_in(lang).said("benchmarks", standing=standing, first=False)


def one(result: Result, figure: Benchmark = FIGURE, *, country: str = "JP", on: date = ON) -> Standing:
    (found,) = standings([result], [figure], SPECS, country=country, on=on)
    return found


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(10.0, "above"), (20.0, "not_distinguishable"), (50.0, "below"), (14.0, "above"), (14.06, "not_distinguishable")],
)
def test_our_interval_decides(value: float, verdict: str) -> None:
    ours = nps(50, 20, 100)
    assert (ours.score, ours.ci_low, ours.ci_high) == (
        pytest.approx(30.0), pytest.approx(14.0511, abs=5e-5), pytest.approx(44.2013, abs=5e-5),
    )  # fmt: skip
    assert one(ours, replace(FIGURE, value=value)).verdict == verdict


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"scale": "1-5"}, ("scale",)),
        ({"scale": "five"}, ("scale",)),
        ({"positive": (8, 9, 10)}, ("cut_offs",)),
        ({"negative": (0, 1, 2, 3, 4)}, ("cut_offs",)),
        ({"country": "US"}, ("country",)),
        ({"survey_kind": "relational"}, ("survey_kind",)),
        ({"country": "US", "scale": "0-7"}, ("scale", "country")),
    ],
)
def test_a_figure_made_otherwise_is_for_reference_without_a_verdict(
    change: dict[str, object], named: tuple[str, ...]
) -> None:
    found = one(nps(50, 20, 100), replace(FIGURE, **change))  # type: ignore[arg-type]
    assert (found.verdict, found.differing, found.comparable) == ("none", named, False)
    assert "参考（条件が異なります）" in sentence(found, "ja")
    assert "for reference only, the conditions differ" in sentence(found, "en")


def test_a_full_width_scale_and_the_same_cut_offs_spelt_out_are_the_same() -> None:
    same = replace(FIGURE, scale="０〜１０", positive=(10, 9), negative=tuple(range(7)))
    assert one(nps(50, 20, 100), same).comparable


def test_published_counts_make_it_a_comparison_of_two_samples() -> None:
    # by our interval alone +13.3 would be above 0; against 60 published answers it is not
    wide = replace(FIGURE, value=13.333, ci=(-8.0, 33.0), n=60, good=24, bad=16)
    found = one(nps(33, 9, 60), wide)
    assert found.verdict == "not_distinguishable"
    assert found.difference is not None
    assert found.difference.delta == pytest.approx(26.6667, abs=5e-5)
    assert (found.difference.low, found.difference.high) == (
        pytest.approx(-1.2303, abs=5e-5), pytest.approx(53.2629, abs=5e-5),
    )  # fmt: skip
    many = replace(FIGURE, value=0.0, n=400, good=100, bad=100)
    assert one(nps(180, 80, 400), many).verdict == "above"
    assert one(nps(100, 100, 400), replace(many, value=25.0, good=180, bad=80)).verdict == "below"


def test_published_counts_of_a_share_too() -> None:
    counted = Tally({5: 42, 2: 18})
    ours = measure(SPECS["csat5"], counted, stratum=Stratum("transactional", "support"), window=Span())[0]
    figure = replace(FIGURE, metric="csat5", scale="1-5", value=50.0, n=60, good=30)
    found = one(ours, figure)
    assert found.difference is not None
    assert (found.difference.delta, found.difference.p) == (pytest.approx(20.0), pytest.approx(0.0253, abs=5e-5))
    assert found.verdict == "above"


def test_what_may_not_be_shown_is_not_compared_either() -> None:
    few = one(nps(9, 0, 9))
    assert (few.verdict, few.result.score, few.told) == ("none", None, False)
    counts = one(nps(9, 0, 9), replace(FIGURE, n=100, good=50, bad=20))
    assert (counts.verdict, counts.difference) == ("none", None)


def test_a_mean_without_variance_has_no_interval_to_compare_by() -> None:
    ours = measure(SPECS["affinity"], Tally({4: 40}), stratum=Stratum("transactional"), window=Span())[0]
    found = one(ours, replace(FIGURE, metric="affinity", scale="1-5", value=3.0))
    assert found.verdict == "none"
    assert "without an interval they are not compared" in sentence(found, "en")


@pytest.mark.parametrize(
    ("year", "on", "stale"),
    [
        ("2024", date(2026, 12, 31), False),
        ("2024", date(2027, 1, 1), True),
        ("2024-11", date(2026, 11, 30), False),
        ("2024-11", date(2026, 12, 1), True),
    ],
)
def test_a_figure_is_stale_two_years_after_the_end_of_its_period(year: str, on: date, stale: bool) -> None:
    assert is_stale(year, on) is stale
    assert ("stale" in one(nps(50, 20, 100), replace(FIGURE, year=year), on=on).flags) is stale


def test_only_the_leading_statistic_of_the_same_metric_is_compared() -> None:
    everything = measure(SPECS["nps"], Tally({9: 50, 5: 50}), stratum=Stratum("transactional"), window=Span())
    found = standings(everything, [FIGURE, replace(FIGURE, metric="nrs")], SPECS, country="JP", on=ON)
    assert [(s.result.metric, s.result.variant) for s in found] == [("nps", "net")]


def test_the_sentence_has_everything_a_reader_needs() -> None:
    figure = replace(
        FIGURE, ci=(5.0, 15.0), n=1200, source="日本版調査（JCSI）", licence_note="社内利用のみ", year="2023"
    )
    assert sentence(one(nps(50, 20, 100), figure), "ja") == (
        "NPS® +10.0（95%信頼区間 +5.0〜+15.0、n=1,200）：retail、JP、2023年、日本版調査（JCSI）。"
        "自社 ご購入後 +30.0（95%信頼区間 +14.1〜+44.2、n=100）：上回っている。2年以上前の値です。"
        "利用条件：社内利用のみ。公表されたJCSIの値は、許可なく広告に使えません。"
    )
    assert sentence(one(nps(50, 20, 100), replace(FIGURE, value=20.0)), "ja").endswith("：差があるとは言えない。")
    assert sentence(one(nps(50, 20, 100)), "en") == (
        "NPS® +10.0: retail, JP, 2025, A study. Ours is after a purchase +30.0 (95% CI +14.1 to +44.2, n=100): above."
    )


# -------------------------------------------------------------------------------------- in the digest, in a file


async def test_the_digest_shows_figures_and_hostile_words_stay_words(tmp_path: Path) -> None:
    h = History()
    h.nps(50, 20, 100)
    figure = replace(FIGURE, source="<!channel> & Co", industry="*retail*")
    context = await digest_of(h, tmp_path, shop=replace(SHOP, language="en", benchmarks=(figure,)))
    assert "Beside published figures\nNPS® +10.0: *retail*, JP, 2025, <!channel> & Co." in render_text(context)
    (shown,) = [b for m in render_thread(context) for b in m["blocks"] if "published" in json.dumps(b)]
    assert "&lt;!channel&gt; &amp; Co" in shown["text"]["text"]
    (record,) = digest_json(context)["benchmarks"]
    assert (record["metric"], record["verdict"], record["comparable"]) == ("nps", "above", True)


async def test_more_figures_than_fit_are_counted(tmp_path: Path) -> None:
    h = History()
    h.nps(50, 20, 100)
    figures = tuple(replace(FIGURE, source=f"{number}" + "&" * 90) for number in range(30))
    context = await digest_of(h, tmp_path, shop=replace(SHOP, benchmarks=figures))
    blocks = render_thread(context)[0]["blocks"]
    assert sum(len(b["text"]["text"]) for b in blocks if "text" in b) < 12_000
    assert "件は、ここには表示していません。" in json.dumps(blocks, ensure_ascii=False)


def test_a_file_has_them_beside_the_scores(tmp_path: Path) -> None:
    file = tmp_path / "answers.csv"
    rows = ["survey_kind,instrument,value", *("transactional,nps,9" for _ in range(50))]
    rows += ["transactional,nps,5"] * 20 + ["transactional,nps,8"] * 30
    file.write_text("\n".join(rows), "utf-8")
    found = measure_file(file, SPECS, tz=UTC, benchmarks=[FIGURE], today=ON)
    record = next(r for r in json.loads(render_json(found)) if r["variant"] == "net")
    assert [b["verdict"] for b in record["benchmarks"]] == ["above"]
    assert "Ours is +30.0 (95% CI +14.1 to +44.2, n=100): above." in render_table(found, SPECS, "en")


SHOP_FILE = """
brand: {ja: 声の店, en: Koe Store}
privacy_url: https://example.com/privacy
support_hours: {days: mon-fri, hours: "10:00-17:00"}
retention: 2y
benchmarks:
  - {metric: nps, value: 10, industry: retail, country: JP, year: 2025, survey_kind: transactional, wording: standard,
     scale: 0-10, source: A study, url: "https://example.com/study", licence_note: free to quote}
"""


def test_koe_metrics_takes_the_figures_of_the_koe_yaml_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in Settings.names():
        monkeypatch.delenv(name, raising=False)
    Path("answers.csv").write_text("survey_kind,instrument,value\n" + "transactional,nps,9\n" * 40, "utf-8")
    Path("shop.yaml").write_text(SHOP_FILE, "utf-8")
    koe = CliRunner()
    done = koe.invoke(app, ["metrics", "answers.csv", "--config", "shop.yaml", "--lang", "en"])
    assert done.exit_code == 0
    assert "NPS® +10.0: retail, JP, 2025, A study." in done.stdout
    assert "Terms of use: free to quote." in done.stdout
    wrong = koe.invoke(app, ["metrics", "answers.csv", "--config", "other.yaml"])
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "other.yaml" in wrong.stderr
