"""What comments come to: the worked examples, the minima, and what never leaves."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pencil import worked_out
from report_history import NOW_MS, SHOP, TOKYO, WEEK, History, weeks_ago

from reports.__main__ import Request, make_digest
from reports.answers.render import render_json, render_table
from reports.answers.report import Measured, measure_file
from reports.comments.chosen import choose
from reports.comments.compared import distinctive_words, log_odds
from reports.comments.free_text import (
    FreeText,
    FreeTexts,
    analyse_comments,
)
from reports.comments.gathered import Comment, Gathered
from reports.comments.lines import free_text_lines
from reports.comments.reading import Readers, Reading
from reports.comments.vocabulary import FreeTextSettings, language_of
from reports.digest import DigestRule, WeekRange, gather_commented, parse_period, week_name
from reports.digest.weeks import Period, month_ending_by
from reports.instruments import bundled_instruments, specs_of
from reports.metrics import Span
from reports.words import Words, sentences_in
from storage.store import Store, open_store
from tests.nursery import run

READERS = Readers()
INSTRUMENTS = bundled_instruments()
SPECS = specs_of(INSTRUMENTS)


def said(text: str, respondent: int, rating: int | None = None, **other: Any) -> Comment:
    return Comment(
        **(
            {
                "instrument": "reason",
                "survey_kind": "transactional",
                "touchpoint": "purchase",
                "wording_id": "reason.score",
                "respondent": respondent,
                "at_ms": respondent,
                "text": text,
                "lang": language_of(text),
                "rating": rating,
            }
            | other
        )
    )


def only(comments: list[Comment], **other: Any) -> FreeText:
    (found,) = analyse_comments(comments, READERS, window=Span(), **other).found
    return found


# ------------------------------------------------------------------------------------------------ small cells

_ABOUT = ("delivery", "price", "quality", "website")


@pytest.mark.parametrize("seed", range(25))
def test_the_ratings_of_a_handful_do_not_follow_from_those_of_topics(seed: int) -> None:
    chance = random.Random(seed)
    comments = []
    for respondent in range(chance.choice([14, 25, 60])):
        words = chance.sample(_ABOUT, chance.choice([0, 1, 1, 1, 2]), counts=[chance.choice([1, 9]) for _ in _ABOUT])
        rating = chance.randint(0, 10) if chance.random() < chance.choice([0.3, 0.95]) else None
        comments.append(said("the " + " and the ".join([*dict.fromkeys(words), "rest"]), respondent, rating))
    found = only(comments)
    rated = {c.respondent: READERS.of("en").read(c.text).topics for c in comments if c.rating is not None}
    told = [frozenset(rated)]
    for topic in found.topics:
        about = frozenset(who for who, topics in rated.items() if topic.topic.id in topics)
        assert topic.rating.n_valid == len(about)
        if topic.rating.status in ("caution", "ok"):
            told.append(about)
    assert worked_out(told if len(rated) >= 10 else told[1:]) == []


_WORD_OF = {
    "delivery": ("delivery", "配送"),
    "price": ("price", "価格"),
    "product": ("quality", "品質"),
    "site": ("website", "アプリ"),
}
_DIGESTS = (
    DigestRule("weekly"),
    DigestRule("monthly", every="month"),
    DigestRule("umeda", segment="umeda"),
    DigestRule("slack", channel="slack", every="month"),
)


def small_shop(seed: int) -> History:
    """Fifteen weeks of two stores, two channels and two languages. Nearly everybody speaks of the delivery lately."""
    chance = random.Random(seed)
    sizes = chance.choice([[0, 3, 12, 40], [2, 9, 15]])
    past = History()
    for back in range(15):
        for segment, channel in (("umeda", "line"), ("umeda", "slack"), ("namba", "line")):
            for place, words in enumerate(("the {} was so", "{}のことです")):
                for n in range(chance.choice(sizes)):
                    about = "delivery" if back % 4 < 2 and n % 5 else chance.choice(list(_WORD_OF))
                    said, rating = words.format(_WORD_OF[about][place]), chance.choice([2, 8, 9])
                    past.comment(said, rating, monday=weeks_ago(back), segment=segment, channel=channel)
    return past


@pytest.mark.parametrize("seed", range(2))
async def test_what_a_handful_spoke_of_does_not_follow_from_all_digests_of_a_quarter(seed: int, tmp_path: Path) -> None:
    past = small_shop(seed)
    told: defaultdict[str, list[frozenset[str]]] = defaultdict(list)
    rated: defaultdict[str, list[frozenset[str]]] = defaultdict(list)

    def wrote(rule: DigestRule, lang: str, window: WeekRange, *about: str) -> frozenset[str]:
        return frozenset(
            answer.id
            for answer in past.answers
            if answer.instrument == "reason"
            and language_of(answer.value) == lang
            and window.has(answer.week)
            and rule.segment in ("", answer.segment)
            and rule.channel in ("", answer.channel)
            and (not about or any(word in answer.value for word in about))
        )

    store = await open_store(f"sqlite:///{tmp_path / 'koe.db'}", now_ms=NOW_MS)
    try:
        await store.write(past.store)
        for back in range(9, -1, -1):
            week = WeekRange(weeks_ago(back), 1)
            month = month_ending_by(week.end)
            for rule in _DIGESTS:
                period = parse_period(week_name(week.first)) if rule.every == "week" else month
                if period.weeks.end != week.end:
                    continue
                texts = await commented(store, rule, period)
                for text in texts.to_json()["found"]:
                    lang, window = text["lang"], period.weeks.last(max(4, period.weeks.weeks))
                    assert text["n_valid"] == len(wrote(rule, lang, window))
                    if text["results"]:
                        told[lang].append(wrote(rule, lang, window))
                    if text["grown_topics"] or text["fresh_words"]:
                        told[lang] += [wrote(rule, lang, one) for one in (week, week.before(4))]
                    if text["promoters"] is not None:
                        rated[lang].append(wrote(rule, lang, window))
                    for result in text["results"]:
                        topic = result["variant"].removeprefix("topic_").removesuffix("_rating")
                        if result["variant"].endswith("_rating") and result["score"] is not None:
                            rated[lang].append(wrote(rule, lang, window, *_WORD_OF[topic]))
                            assert result["n_valid"] == len(rated[lang][-1])
    finally:
        await store.close()
    assert all(len(told[lang]) > 5 and len(rated[lang]) > 5 for lang in ("ja", "en"))
    assert [worked_out(totals) for totals in (*told.values(), *rated.values())] == [[], [], [], []]


async def commented(
    store: Store, rule: DigestRule, period: Period, digests: tuple[DigestRule, ...] = _DIGESTS
) -> FreeTexts:
    """What a digest tells of comments."""
    shop = replace(SHOP, digests=digests)
    found = await store.read(lambda tx: gather_commented(tx, shop=shop, digest_rule=rule, period=period, tz=TOKYO))
    return found.texts(READERS)


# ---------------------------------------------------------------------------------------------- distinctive words


@pytest.mark.parametrize(
    ("y_i", "y_j", "delta", "zeta"),
    [(30, 3, 1.0621, 3.2649), (2, 20, -1.4199, -3.5639), (10, 8, -0.0429, -0.1137), (0, 6, -1.7120, -2.0276)],
)
def test_the_log_odds_of_a_word(y_i: int, y_j: int, delta: float, zeta: float) -> None:
    assert log_odds(y_i, y_j, 200, 150) == pytest.approx((delta, zeta), abs=5e-5)
    assert log_odds(y_j, y_i, 150, 200) == pytest.approx((-delta, -zeta), abs=5e-5)


def test_a_word_that_is_the_whole_vocabulary_has_no_odds() -> None:
    assert log_odds(40, 40, 40, 40) is None


def reading(*words: str) -> Reading:
    return Reading({word: word for word in words}, 0, 0, frozenset())


def test_distinctive_words_need_thirty_on_either_side_and_five_users() -> None:
    promoters = [reading("丁寧", "品") for _ in range(28)] + [reading("品", "稀"), reading("品")]
    detractors = [reading("遅い", "品") for _ in range(26)] + [reading("品", "珍") for _ in range(4)]
    likes, dislikes = distinctive_words(promoters, detractors)
    assert [(word.label, word.promoters, word.detractors) for word in likes] == [("丁寧", 28, 0)]
    assert [(word.label, word.promoters, word.detractors) for word in dislikes] == [("遅い", 0, 26)]
    assert likes[0].zeta >= 1.96
    assert dislikes[0].zeta <= -1.96
    assert distinctive_words(promoters[:29], detractors) == ((), ())
    assert distinctive_words(promoters, detractors[:29]) == ((), ())


def test_at_most_ten_words_a_side_the_clearest_first() -> None:
    promoters = [reading(*(f"w{number:02}" for number in range(14) if user < 20 + number)) for user in range(40)]
    detractors = [reading("other", *(f"v{number}" for number in range(3))) for _ in range(40)]
    likes, dislikes = distinctive_words(promoters, detractors)
    assert [word.key for word in likes] == [f"w{number:02}" for number in range(13, 3, -1)]
    assert len(dislikes) == 4


def test_a_label_is_the_form_that_most_people_wrote() -> None:
    promoters = [Reading({"引っ越し": "引越" if user < 20 else "引っ越し"}, 0, 0, frozenset()) for user in range(35)]
    (word,), _ = distinctive_words(
        [Reading({**r.words, "x": "x"}, 0, 0, frozenset()) for r in promoters], [reading("x")] * 30
    )
    assert (word.key, word.label) == ("引っ越し", "引越")


# ------------------------------------------------------------------------------------- topics, polarity and minima


def test_nothing_but_the_number_of_nine_comments_leaves() -> None:
    found = only([said("梱包が丁寧でした", user, 10) for user in range(9)] + [said("", 20)])
    assert (found.n, found.n_missing, found.status) == (9, 1, "suppressed")
    assert (found.topics, found.polarity, found.chosen, found.promoters, found.rated) == ((), None, (), 0, 0)
    assert found.results() == []
    assert "梱包" not in json.dumps(found.to_json(), ensure_ascii=False)
    assert [line.strip() for line in free_text_lines(found, Words("ja"))][-1] == "n<10 のため非表示"


def test_topics_are_shares_of_comments_with_the_mean_rating_of_those_who_name_them() -> None:
    comments = [said("梱包が丁寧でした", user, 10) for user in range(12)]
    comments += [said("配送が遅い。梱包も雑", 20 + user, 2) for user in range(3)]
    comments += [said("良い", 40 + user, 8) for user in range(15)]
    found = only(comments)
    packaging, delivery = found.topics
    assert (packaging.topic.id, packaging.topic.experience) == ("packaging", "exp_packaging")
    # Wilson, 15 of 30
    assert packaging.share.score == pytest.approx(50.0)
    assert (packaging.share.ci_low, packaging.share.ci_high) == pytest.approx((33.1541, 66.8459), abs=5e-5)
    assert packaging.rating.n_valid == 15
    assert packaging.rating.score == pytest.approx((12 * 10 + 3 * 2) / 15)
    assert delivery.topic.id == "delivery"
    assert delivery.share.score == pytest.approx(10.0)
    assert (delivery.rating.status, delivery.rating.score, delivery.rating.counts) == ("suppressed", None, {})


def test_a_mean_rating_is_hidden_when_the_others_are_too_few_to_be_hidden_in() -> None:
    comments = [said("梱包が丁寧でした", user, 10) for user in range(20)] + [said("良い", 50 + n, 1) for n in range(9)]
    (packaging,) = only(comments).topics
    assert packaging.rating.score is None
    (packaging,) = only([*comments, said("良い", 70, 1)]).topics
    assert packaging.rating.score == pytest.approx(10.0)


def test_polarity_is_shown_only_where_it_goes_with_the_rating() -> None:
    going = [said("丁寧で良い", user, 9) for user in range(10)]
    against = [said("遅いし最悪", 20 + user, 2) for user in range(10)]
    found = only(going + against)
    assert found.polarity is not None
    assert found.validity == pytest.approx(1.0, abs=1e-9)
    assert found.polarity.score == pytest.approx(0.0)
    assert found.validity_n == 20
    mixed = [said("丁寧で良い" if user % 2 else "遅いし最悪", user, user // 2) for user in range(20)]
    unrelated = only(mixed)
    assert unrelated.validity == pytest.approx(0.0, abs=1e-9)
    assert unrelated.polarity is None
    same = only([said("丁寧で良い", user, 9) for user in range(20)])
    assert (same.validity, same.polarity) == (None, None)


def test_of_each_customer_the_latest_comment_counts_and_languages_stand_apart() -> None:
    comments = [said("遅い", 1, at_ms=1), said("早い", 1, at_ms=2), said("late", 2), said("早い", 3)]
    found = analyse_comments(comments, READERS, window=Span()).found
    assert [(text.stratum.lang, text.n, text.n_superseded) for text in found] == [("ja", 2, 1), ("en", 1, 0)]


# ------------------------------------------------------------------------------------------------ chosen comments


def both_sides(promoters: int, detractors: int) -> list[Comment]:
    out = [
        said(f"梱包がとても丁寧でした{'。' * (user % 3)} {chr(0x3042 + user)}", user, 10) for user in range(promoters)
    ]
    return out + [said(f"配送が遅くて困りました {chr(0x3042 + user)}", 500 + user, 2) for user in range(detractors)]


def test_chosen_comments_are_balanced_say_why_and_do_not_depend_on_the_order() -> None:
    comments = both_sides(30, 10)
    chosen = only(comments, seed="weekly 2026-W47").chosen
    assert [comment.side for comment in chosen] == ["promoter"] * 2 + ["detractor"] * 2
    assert [(comment.why, comment.topic and comment.topic.id) for comment in chosen] == [
        ("topic", "packaging"),
        ("drawn", None),
        ("topic", "delivery"),
        ("drawn", None),
    ]
    ja, en = (sentences_in(lang).said("chosen", comment=chosen[at]) for lang, at in (("ja", 0), ("en", 3)))  # type: ignore[arg-type]
    assert ja == "推奨者のコメントに多い「梱包・開封時の印象」から選びました。"
    assert en == "Drawn at random from comments of detractors."
    shuffled = random.Random(3).sample(comments, len(comments))
    assert only(shuffled, seed="weekly 2026-W47").chosen == chosen
    assert any(only(comments, seed=str(seed)).chosen != chosen for seed in range(8))


def test_no_comment_is_chosen_from_a_side_below_ten_nor_from_the_other_alone() -> None:
    assert only(both_sides(30, 9)).chosen == ()
    assert len(only(both_sides(10, 10)).chosen) == 4
    assert choose([], {}, seed="") == ()


def test_words_that_both_sides_used_are_chosen_for_one_of_them_only_while_there_are_others() -> None:
    gathered = Gathered()
    for user in range(40):
        same = "説明がわかりやすかったです。"
        words = same if user % 2 else f"とくに言うことはない人その{user}です。"
        gathered.comment(
            words, instrument="reason", survey_kind="", touchpoint="", wording_id="", customer=f"C{user}",
            at_ms=user, rating=10 if user < 20 else 1,
        )  # fmt: skip
    for seed in range(8):
        texts = [comment.text for comment in only(gathered.comments(), seed=str(seed)).chosen]
        assert len(texts) == len(set(texts)) == 4


def test_a_chosen_comment_is_masked_and_on_one_line() -> None:
    gathered = Gathered()
    for user in range(20):
        gathered.comment(
            f"梱包が丁寧\nでした taro{user}@example.com 090-1234-56{user:02}",
            instrument="reason", survey_kind="", touchpoint="", wording_id="", customer=f"C{user}",
            at_ms=user, rating=10 if user < 10 else 1,
        )  # fmt: skip
    chosen = only(gathered.comments()).chosen
    assert {comment.text for comment in chosen} == {"梱包が丁寧 でした <EMAIL> <PHONE>"}
    assert len(chosen) == 2


# ------------------------------------------------------------------------------------------------- from the store


def history() -> History:
    """In the week twelve customers speak of a broken box and nobody did before; two weeks ago thirty praised."""
    past = History()
    for user in range(30):
        past.comment("配送が早くて助かりました", 10, monday=weeks_ago(2), customer=f"P{user}")
    for user in range(12):
        past.comment(f"箱が破損していました。電話は090-1234-56{user:02}", 2, customer=f"D{user}")
    past.comment("ずっと前の言葉", 10, monday=weeks_ago(6))
    past.comment("", 9)
    past.comment("別の場面", 9, touchpoint="support")
    return past


async def gathered(folder: Path, past: History, **where: str) -> FreeTexts:
    store = await open_store(f"sqlite:///{folder / 'koe.db'}", now_ms=NOW_MS)
    try:
        await store.write(past.store)
        return await commented(store, DigestRule("weekly", **where), parse_period(WEEK), ())  # type: ignore[arg-type]
    finally:
        await store.close()


@pytest.mark.parametrize(("others", "hidden"), [(0, False), (9, True), (10, False)])
async def test_comments_of_a_store_are_hidden_where_a_handful_wrote_of_the_others(
    others: int, hidden: bool, tmp_path: Path
) -> None:
    past = History()
    for user in range(20):
        past.comment("配送が早くて助かりました", 10, segment="渋谷店", customer=f"P{user}")
    for user in range(others):
        # one in each store and week, which no digest tells apart
        at = {"segment": f"{user % 3}号店", "monday": weeks_ago(user // 3)}
        past.comment("箱が破損していました", 2, customer=f"D{user}", **at)
    (text,) = (await gathered(tmp_path, past, segment="渋谷店")).found
    assert (text.n, text.status, text.topics == ()) == (20, "suppressed" if hidden else "caution", hidden)
    assert (text.flags == ("sibling",), text.chosen == ()) == (hidden, True)


async def test_comments_come_from_the_store_with_the_rating_of_their_session(tmp_path: Path) -> None:
    found = (await gathered(tmp_path, history(), touchpoint="purchase")).found
    (text,) = found
    assert (text.n, text.n_missing, text.rated, text.promoters, text.detractors) == (42, 1, 42, 30, 12)
    assert (text.window.start, text.window.end) == ("2026-10-26", "2026-11-23")
    assert text.stratum.touchpoint == "purchase"
    assert [(word.label, word.now, word.now_of, word.earlier, word.earlier_of) for word in text.fresh_words or ()] == [
        ("破損", 12, 12, 0, 30),
        ("箱", 12, 12, 0, 30),
        ("電話", 12, 12, 0, 30),
    ]
    assert all(word.p_adjusted <= 0.1 and word.delta == pytest.approx(100.0) for word in text.fresh_words or ())
    assert {comment.text for comment in text.chosen} == {
        "配送が早くて助かりました",
        "箱が破損していました。電話は<PHONE>",
    }


async def test_a_week_below_ten_comments_names_no_fresh_word(tmp_path: Path) -> None:
    past = History()
    for _ in range(30):
        past.comment("配送が早い", 10, monday=weeks_ago(1))
    for _ in range(9):
        past.comment("箱が破損", 1)
    (text,) = (await gathered(tmp_path, past)).found
    assert (text.n, text.fresh_words) == (39, None)


async def test_the_child_process_keeps_words_but_no_comment_and_no_customer(tmp_path: Path) -> None:
    await gathered(tmp_path, history())
    request = Request.model_validate(
        {
            "database": f"sqlite:///{tmp_path / 'koe.db'}",
            "period": WEEK,
            "now_ms": NOW_MS,
            "brand": {"ja": "声の店", "en": "Koe Store"},
            "digest": {"id": "weekly"},
            "free_text": {"stop_words": ["電話"]},
        }
    )
    made = (await make_digest(request))["json"]["free_text"]
    purchase, support = made["found"]
    assert [word["word"] for word in purchase["fresh_words"]] == ["破損", "箱"]
    assert (support["status"], support["results"], support["n_valid"]) == ("suppressed", [], 1)
    written = json.dumps(made, ensure_ascii=False)
    assert not any(text in written for text in ("助かりました", "<PHONE>", "1234", "別の", "D1", "P1"))


# ------------------------------------------------------------------------------------------------ a file, and a shop

HEAD = "instrument,value,customer,session\n"


def rows(count: int, words: str, rating: int, first: int = 0) -> str:
    return "".join(
        f"nps,{rating},C{user},s{user}\nreason,{words},C{user},s{user}\n" for user in range(first, first + count)
    )


def measured(file: Path, text: str) -> Measured:
    file.write_text(HEAD + text, "utf-8")
    return measure_file(file, SPECS, unscored=INSTRUMENTS, texts=["reason"], readers=READERS, tz=TOKYO)


def test_a_file_of_answers_gives_topics_and_words(tmp_path: Path) -> None:
    found = measured(
        tmp_path / "a.csv", rows(30, "梱包が丁寧でした", 10) + rows(30, "配送が遅い taro@example.com", 2, 30)
    )
    records = json.loads(render_json(found))
    (words,) = [record for record in records if record["variant"] == "words"]
    assert [word["word"] for word in words["promoter_words"]] == ["丁寧", "梱包"]
    assert [word["word"] for word in words["detractor_words"]] == ["遅い", "配送"]
    topics = {record["variant"]: record for record in records if record["variant"].startswith("topic_")}
    assert topics["topic_packaging"]["score"] == pytest.approx(50.0)
    assert topics["topic_packaging_rating"]["score"] == pytest.approx(10.0)
    table = render_table(found, SPECS)
    assert "梱包・開封時の印象：50.0%（n=60、95%信頼区間 37.7〜62.3%）、薦める可能性の平均 10.00（n=30）" in table
    assert "推奨者に多い言葉： 丁寧（推奨者 30・批判者 0" in table
    assert "example" not in table
    assert "reason ×" not in table
    english = render_table(found, SPECS, "en")
    assert "Packaging: 50.0% (n=60, 95% CI 37.7 to 62.3%); mean recommendation 10.00 (n=30)" in english


def test_without_a_session_the_rating_of_the_same_customer_and_time_is_that_of_the_comment(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    head = "instrument,value,customer,answered_at\n"
    lines = [f"nps,10,C{n},2026-11-16T10:{n}:00\nreason,梱包が丁寧,C{n},2026-11-16T10:{n}:00\n" for n in range(10, 30)]
    lines += [f"reason,梱包が雑,C{n},2026-11-16T11:{n}:00\n" for n in range(30, 40)]
    file.write_text(head + "".join(lines), "utf-8")
    (text,) = measure_file(file, SPECS, texts=["reason"], readers=READERS, tz=TOKYO).free_text.found
    assert (text.n, text.rated, text.promoters) == (30, 20, 20)
    assert (text.window.start, text.window.end) == ("2026-11-16", "2026-11-17")


def test_nine_comments_of_a_file_are_a_number_and_nothing_else(tmp_path: Path) -> None:
    found = measured(tmp_path / "a.csv", rows(9, "梱包が丁寧でした", 10))
    for written in (render_json(found), render_table(found, SPECS)):
        assert "梱包" not in written
        assert "丁寧" not in written
        assert "topic_" not in written


def test_without_the_extra_the_command_says_what_is_missing_and_english_is_still_read(tmp_path: Path) -> None:
    file = tmp_path / "answers.csv"
    file.write_text(HEAD + rows(12, "梱包が丁寧でした", 10) + rows(12, "great packaging", 10, 50), "utf-8")
    done = run("metrics", "answers.csv", cwd=tmp_path, strict=True, without=("sudachipy",))
    assert done.returncode == 0, done.stderr
    assert "日本語のコメント12件は集計していません。追加パッケージ「ja」を入れると集計できます" in done.stdout
    assert "（n=12、95%信頼区間" in done.stdout
    assert "梱包・開封時の印象：100.0%（n=12" in done.stdout
    english = run("metrics", "answers.csv", "--lang", "en", cwd=tmp_path, strict=True)
    assert "not analysed" not in english.stdout
    assert english.stdout.count("Packaging: 100.0% (n=12") == 2


def test_the_missing_extra_is_named_in_both_languages() -> None:
    ja, en = (sentences_in(lang).said("unread", unread=1234, first=False) for lang in ("ja", "en"))  # type: ignore[arg-type]
    assert ja.startswith("日本語のコメント1,234件は集計していません。")
    assert en.startswith("Comments in Japanese, not analysed: 1,234.")


def test_a_dictionary_that_is_not_installed_counts_as_missing() -> None:
    found = analyse_comments([said("良い", 1)], Readers(FreeTextSettings(dictionary="full")), window=Span())
    assert (found.found, found.unread) == ((), 1)
