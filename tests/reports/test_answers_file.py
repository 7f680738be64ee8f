"""`koe metrics`: a file of answers from any tool, its worked examples, and files that are not in order."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from reports.answers.file import AnswersFile, AnswersFileError, BadRow, Row, instant_ms
from reports.answers.render import render_json, render_table
from reports.answers.report import Measured, measure_file
from reports.frames import frame_of, measure_frame
from reports.instruments import bundled_instruments, specs_of
from reports.metrics import Span
from tests.nursery import Done, run

TOKYO = ZoneInfo("Asia/Tokyo")
INSTRUMENTS = bundled_instruments()
SPECS = specs_of(INSTRUMENTS)


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "answers.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def measured(tmp_path: Path, text: str | bytes) -> Measured:
    return measure_file(written(tmp_path, text), SPECS, unscored=INSTRUMENTS, tz=TOKYO)


def column(instrument: str, values: Iterable[object]) -> str:
    return "instrument,value\n" + "".join(f"{instrument},{value}\n" for value in values)


def result(found: Measured, variant: str) -> Any:
    (one,) = [record for record in found.results if record.variant == variant]
    return one


def three(positive: int, middle: int, negative: int, codes: tuple[int, int, int]) -> list[int]:
    return [codes[0]] * positive + [codes[1]] * middle + [codes[2]] * negative


# ------------------------------------------------------------------------- the worked examples of the specification


@pytest.mark.parametrize(
    ("instrument", "values", "variant", "score", "low", "high"),
    [
        ("nps", three(50, 30, 20, (9, 7, 0)), "net", 30.0, 14.0511, 44.2013),
        ("nps", three(2, 2, 1, (10, 8, 6)), "net", 20.0, -38.7445, 63.7445),
        ("nps", [10], "net", 100.0, -48.4986, 100.0),
        ("nps", [10] * 30, "net", 100.0, 78.6977, 100.0),
        ("nps", [0] * 30, "net", -100.0, -100.0, -78.6977),
        ("nps", three(20, 20, 20, (9, 8, 6)), "net", 0.0, -20.0416, 20.0416),
        ("nps", [7] * 25, "net", 0.0, -8.5731, 8.5731),
        ("nps", [10, 9, 8, 7, 6, "９", "10点", "None", "", 11, 7.5, "True", "skip"], "net", 42.8571, -16.3812, 76.3812),
        ("nrs", three(18, 13, 9, (5, 4, 3)), "net", 22.5, -2.5852, 44.4457),
        ("nrs", [3] * 5, "net", -100.0, -100.0, -17.4915),
        ("ces_effort", three(25, 15, 10, (1, 4, 7)), "net", 30.0, 7.2995, 49.3043),
        ("ces_effort", [6] * 12, "net", -100.0, -100.0, -54.1959),
        ("ces_ease", [7, 6, 5, 7, 3, 4, 6, 7], "mean", 5.625, 4.3660, 6.8840),
        ("ces_ease", [7, 6, 5, 7, 3, 4, 6, 7], "share", 75.0, 40.9275, 92.8521),
        ("ces_ease", [7, 6, 5, 7, 3, 4, 6, 7], "net", 50.0, -7.4460, 80.1733),
        ("ces_ease", [7] * 12, "share", 100.0, 75.7506, 100.0),
        ("csat5", three(42, 10, 8, (5, 3, 1)), "top2", 70.0, 57.4913, 80.1018),
        ("csat5", [1] * 12, "top2", 0.0, 0.0, 24.2494),
        ("csat10", three(18, 10, 12, (9, 8, 1)), "top2", 45.0, 30.7053, 60.1709),
        ("sat5", [5] * 18 + [4] * 22 + [3] * 12 + [2] * 5 + [1] * 3, "top2", 66.6667, 54.0569, 77.2707),
        ("sat5", [5] * 18 + [4] * 22 + [3] * 12 + [2] * 5 + [1] * 3, "bottom2", 13.3333, 6.9141, 24.1652),
        ("sat5", [5] * 18 + [4] * 22 + [3] * 12 + [2] * 5 + [1] * 3, "mean", 3.7833, 3.4937, 4.0730),
        ("repeat_intent", [5] * 30 + [1] * 20, "top2", 60.0, 46.1814, 72.3916),
        ("affinity", [5, 4, 4, 3, 2, 5, 4, 1, 3, 4], "mean", 3.5, 2.5920, 4.4080),
        ("affinity", [5, 4, 4, 3, 2, 5, 4, 1, 3, 4], "top2", 60.0, 31.2674, 83.1820),
        ("pay_more", ["はい"] * 14 + ["いいえ"] * 21, "share", 40.0, 25.5507, 56.4273),
        ("expect_gap", three(12, 15, 3, (5, 3, 1)), "net", 30.0, 5.0139, 49.5315),
        ("delight", three(7, 0, 21, (5, 3, 1)), "top2", 25.0, 12.6765, 43.3557),
        ("exp_product", [4, 5, 3, 4, 2, 5], "mean", 3.8333, 2.6065, 5.0),
        ("emotion", ["relief;pride"] * 22 + ["liking"] * 9 + ["none"] * 9, "any_positive", 77.5, 62.4969, 87.6839),
    ],
)
def test_a_worked_example_comes_out_of_a_file(
    tmp_path: Path, instrument: str, values: list[object], variant: str, score: float, low: float, high: float
) -> None:
    found = result(measured(tmp_path, column(instrument, values)), variant)
    assert found.score == pytest.approx(score, abs=5e-5)
    assert (found.ci_low, found.ci_high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_missing_and_invalid_cells_are_counted_apart(tmp_path: Path) -> None:
    values = [10, 9, 8, 7, 6, "９", "10点", "None", "", 11, 7.5, "True", "skip"]
    net = result(measured(tmp_path, column("nps", values)), "net")
    assert (net.n_valid, net.n_missing, net.n_invalid) == (7, 3, 3)


def test_selections_of_a_multi_select_are_joined_by_semicolons(tmp_path: Path) -> None:
    found = measured(tmp_path, column("emotion", ["relief;pride", "none", "", "none;trust", "xyz"]))
    anyone = result(found, "any_positive")
    assert (anyone.n_valid, anyone.n_missing, anyone.n_invalid) == (3, 1, 1)
    assert anyone.score == pytest.approx(200 / 3)
    assert (anyone.counts["relief"], anyone.counts["pride"], anyone.counts["trust"]) == (1, 1, 1)
    assert "invalid_codes" in anyone.flags
    assert result(measured(tmp_path, column("emotion", ["None", "nan", "none"])), "any_positive").n_missing == 2


def test_who_would_leave_if_it_cost_nothing_is_captive(tmp_path: Path) -> None:
    rows = ["customer,instrument,value"]
    for number in range(40):
        rows.append(f"c{number},repeat_intent,{5 if number < 30 else 2}")
        rows.append(f"c{number},repeat_intent_noswitch,{3 if number < 9 or number >= 30 else 4}")
    found = result(measured(tmp_path, "\n".join(rows)), "captive_share")
    assert (found.score, found.n_valid) == (pytest.approx(30.0), 30)
    assert (found.ci_low, found.ci_high) == (pytest.approx(16.6647, abs=5e-5), pytest.approx(47.8758, abs=5e-5))


# ------------------------------------------------------------------------------------------- what counts as what


def test_what_may_not_be_pooled_stays_apart_and_one_of_each_is_the_total(tmp_path: Path) -> None:
    head = "instrument,value,survey_kind,touchpoint,lang,wording_id\n"
    rows = ["transactional,purchase,ja,w1", "relational,purchase,ja,w1", "transactional,support,ja,w1"]
    rows += ["transactional,purchase,en,w1", "transactional,purchase,ja,w2"]
    found = measured(tmp_path, head + "".join(f"nps,9,{row}\n" for row in rows))
    nets = [record for record in found.results if record.variant == "net"]
    assert [record.n_valid for record in nets] == [1] * 5
    assert len({record.stratum for record in nets}) == 5
    assert result(measured(tmp_path, head + f"nps,9,{rows[0]}\n" * 12), "net").n_valid == 12


def test_the_latest_answer_of_a_customer_counts_whatever_the_order_of_the_file(tmp_path: Path) -> None:
    head = "customer,answered_at,instrument,value\n"
    rows = ["c1,2026-11-18,nps,9", "c1,2026-11-17,nps,1", "c1,2026-11-19,nps,skip", "c2,,nps,3", "c2,2020-01-01,nps,8"]
    net = result(measured(tmp_path, head + "\n".join(rows)), "net")
    assert (net.counts, net.n_superseded, net.n_missing) == ({"8": 1, "9": 1}, 2, 1)
    tie = ["c1,2026-11-18,nps,9", "c1,2026-11-18,nps,1"]
    assert result(measured(tmp_path, head + "\n".join(tie)), "net").counts == {"1": 1}


def test_the_window_is_the_whole_file_by_local_days(tmp_path: Path) -> None:
    rows = "answered_at,instrument,value\n2026-11-16T15:30:00Z,nps,9\n2026/11/20 9:05,nps,8\n2026年11月18日,nps,7\n"
    record = json.loads(render_json(measured(tmp_path, rows)))[0]
    assert record["window"] == {"start": "2026-11-17", "end": "2026-11-21"}
    assert json.loads(render_json(measured(tmp_path, column("nps", [1]))))[0]["window"] == {"start": None, "end": None}


def test_counting_row_by_row_equals_the_frame(tmp_path: Path) -> None:
    chance = random.Random(7)
    names = ("answered_at", "customer", "survey_kind", "touchpoint", "instrument", "value", "lang", "wording_id")
    rows: list[dict[str, str]] = []
    for number in range(3000):
        instrument = chance.choice(["nps", "sat5", "ces_ease", "pay_more", "emotion"])
        value = {
            "pay_more": chance.choice(["yes", "no", "", "perhaps"]),
            "emotion": chance.choice(["relief", "relief;trust", "none", "xyz", "skip"]),
        }.get(instrument, chance.choice(["1", "3", "5", "７", "10点", "わからない", "x"]))
        # every time is another: a tie is decided by the order of a file, and by ids in a frame
        day, second = divmod(number * 7919 % 3000, 60)
        cells = (
            f"2026-11-{1 + day // 4:02d}T10:{day % 4:02d}:{second:02d}+09:00",
            chance.choice(["", *(f"c{n}" for n in range(200))]),
            chance.choice(["transactional", "relational"]),
            chance.choice(["purchase", "support"]),
            instrument,
            value,
            chance.choice(["ja", "en"]),
            chance.choice(["w1", "w2"]),
        )
        rows.append(dict(zip(names, cells, strict=True)))
    text = ",".join(names) + "\n" + "".join(",".join(row.values()) + "\n" for row in rows)
    found = measured(tmp_path, text)
    records = [
        {**row, "answered_ms": instant_ms(row["answered_at"], TOKYO), "id": f"{number:05}"}
        for number, row in enumerate(rows)
    ]
    expected = measure_frame(frame_of(records), SPECS, window=found.results[0].window)

    def sorted_by_key(results: list[Any]) -> list[Any]:
        # whether a superseded answer had an unknown code is all that the two may see differently
        records = [{**one.to_json(), "flags": [f for f in one.flags if f != "invalid_codes"]} for one in results]
        return sorted(records, key=lambda one: json.dumps(one, sort_keys=True))

    assert sorted_by_key(found.results) == sorted_by_key(expected)


def test_every_answer_counts_per_event_and_answers_of_one_customer_hang_together(tmp_path: Path) -> None:
    chance = random.Random(5)
    rows = [
        {"customer": chance.choice(["", *(f"c{n}" for n in range(20))]), "instrument": name, "value": str(value)}
        for name in ("csat5", "emotion")
        for value in (chance.choice([1, 3, 4, 5]) if name == "csat5" else "relief" for _ in range(50))
    ]
    path = written(tmp_path, "customer,instrument,value\n" + "".join(",".join(row.values()) + "\n" for row in rows))
    found = measure_file(path, SPECS, tz=TOKYO, unit="per_event")
    frame = frame_of([{**row, "id": f"{number:05}"} for number, row in enumerate(rows)])
    assert found.results == measure_frame(frame, SPECS, unit="per_event")
    top = result(found, "top2")
    assert (top.n_valid, top.ci_method, top.flags) == (50, "cluster_bootstrap", ("clustered",))


def test_an_id_in_a_column_of_kinds_is_refused(tmp_path: Path) -> None:
    text = "instrument,value,touchpoint\n" + "".join(f"nps,9,order-{number}\n" for number in range(10_002))
    with pytest.raises(AnswersFileError, match=r":10002: more than 10000 combinations of survey_kind, touchpoint"):
        measured(tmp_path, text)


# -------------------------------------------------------------------------------------------------- how it is shown


def test_a_suppressed_record_keeps_its_n_and_nothing_else_in_either_form(tmp_path: Path) -> None:
    found = measured(tmp_path, column("nps", [10] * 9))
    record = json.loads(render_json(found))[0]
    assert (record["status"], record["n_valid"], record["score"]) == ("suppressed", 9, None)
    assert (record["ci_low"], record["ci_high"], record["counts"]) == (None, None, {})
    assert all(one["flags"] == [] for one in json.loads(render_json(found)))
    table = render_table(found, SPECS)
    assert "n<10 のため非表示" in table
    assert "100" not in table
    assert "not shown, n<10" in render_table(found, SPECS, "en")


def test_ten_answers_are_a_reference_and_thirty_speak_plainly(tmp_path: Path) -> None:
    assert "参考値（n=10）" in render_table(measured(tmp_path, column("nps", [10] * 10)), SPECS)
    plain = render_table(measured(tmp_path, column("nps", three(50, 30, 20, (9, 7, 0)))), SPECS)
    assert "参考値" not in plain
    assert "+30.0" in plain
    assert "+14.1〜+44.2" in plain
    assert "登録商標" in plain


def test_effort_is_never_shown_without_its_direction(tmp_path: Path) -> None:
    found = measured(tmp_path, column("ces_effort", three(25, 15, 10, (1, 4, 7))))
    table = render_table(found, SPECS)
    assert "高いほど手間が少ない（良い）" in table
    assert "平均点は低いほど良い" in table
    assert all(record["variant"] and record["direction"] for record in json.loads(render_json(found)))
    ease = measured(tmp_path, column("ces_ease", [7] * 12))
    assert render_table(ease, SPECS, "en").count("higher = easier, better") == 3


def test_no_answers_give_no_score_and_valid_json(tmp_path: Path) -> None:
    found = measured(tmp_path, column("nps", ["", "skip"]))
    record = json.loads(render_json(found), parse_constant=pytest.fail)[0]
    assert (record["status"], record["score"], record["n_missing"]) == ("no_data", None, 2)
    assert "回答なし" in render_table(found, SPECS)
    assert json.loads(render_json(measured(tmp_path, "instrument,value\n"))) == []


def test_what_is_not_scored_is_named(tmp_path: Path) -> None:
    found = measured(tmp_path, "instrument,value,note\nfoo,3,\nfoo,4,\nreason,良い,\nnps,9,x\n")
    assert (found.unknown, found.unscored, found.unused) == ({"foo": 2}, {"reason": 1}, ("note",))
    table = render_table(found, SPECS, "en")
    assert "foo × 2" in table
    assert "reason × 1" in table
    assert "Columns not used: note" in table


def test_an_instrument_may_be_written_in_capitals(tmp_path: Path) -> None:
    assert result(measured(tmp_path, column("ＮＰＳ", [9])), "net").metric == "nps"


# ---------------------------------------------------------------------------------------- files that are not in order


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path) -> None:
    net = result(measured(tmp_path, b"\xef\xbb\xbf" + b"instrument,value\r\nnps,9\r\n\r\nnps,10\r\n"), "net")
    assert net.n_valid == 2


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            "instrument,value\nreason,良かったです\n".encode("cp932"),
            ":2: this line is not UTF-8 but looks like Shift_JIS",
        ),
        (b"instrument,value\nnps,9\nreason,\x81\xff\xfe\n", ":3: this line is not UTF-8"),
        ("instrument,value\n".encode("utf-16"), "UTF-16"),
        (b"", "is empty"),
        (b"question,answer\nnps,9\n", ":1: there is no column instrument and no column value"),
        (b"instrument;value\nnps;9\n", ":1: the columns are separated by semicolons"),
        (b"instrument\tvalue\nnps\t9\n", ":1: the columns are separated by tabs"),
        (b"instrument,value,value\nnps,9,9\n", ":1: the column value stands there twice"),
        (b'instrument,value\nnps,9\nreason,"' + b"x" * 140_000, ":3: it is no CSV from here on"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_sentence_with_its_line(tmp_path: Path, content: bytes, sentence: str) -> None:
    with pytest.raises(AnswersFileError) as caught:
        measured(tmp_path, content)
    assert sentence in str(caught.value)


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(AnswersFileError, match="cannot be read: No such file"):
        AnswersFile(tmp_path / "none.csv")


def test_ragged_rows_are_left_out_with_the_line_on_which_they_begin(tmp_path: Path) -> None:
    text = 'instrument,value\nreason,"two\nlines"\nnps,9,9\nnps\nnps,8\n,7\n"nps,9\nnps,8\n'
    rows = list(AnswersFile(written(tmp_path, text)).rows())
    assert [row.line for row in rows if isinstance(row, Row)] == [2, 6]
    assert [(row.line, row.message) for row in rows if isinstance(row, BadRow)] == [
        (4, "3 cells where the first line names 2 columns: is a comma inside a cell without quotes?"),
        (5, "1 cell where the first line names 2 columns: is a comma missing?"),
        (7, "instrument is empty: write which question was answered, such as nps."),
        (8, "1 cell where the first line names 2 columns: is a quote left open?"),
    ]
    found = measured(tmp_path, text)
    assert (found.rows, found.bad, [fault.line for fault in found.faults]) == (2, 4, [4, 5, 7, 8])


def test_a_time_that_is_none_is_told_and_the_answer_counts(tmp_path: Path) -> None:
    found = measured(tmp_path, "instrument,value,answered_at\nnps,9,yesterday\nnps,9,nan\n")
    assert (result(found, "net").n_valid, found.undated, found.faults[0].line) == (2, 1, 2)


@pytest.mark.parametrize("when", ["0001-01-01", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999年12月31日"])
def test_a_time_that_stands_for_none_does_not_stretch_the_window(tmp_path: Path, when: str) -> None:
    found = measured(tmp_path, f"instrument,value,answered_at\nnps,9,{when}\nnps,8,2026-11-16\n")
    assert (result(found, "net").n_valid, found.undated) == (2, 1)
    assert result(found, "net").window == Span("2026-11-16", "2026-11-17")


def test_empty_values_that_were_written_out_name_no_customer(tmp_path: Path) -> None:
    found = measured(tmp_path, "instrument,value,customer\nnps,9,None\nnps,8,nan\nnps,7,\n")
    assert result(found, "net").n_valid == 3
    assert found.anonymous


def test_progress_adds_up_to_the_size_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, column("nps", [9] * 12_000))
    read: list[int] = []
    measure_file(path, SPECS, tz=TOKYO, progress=read.append)
    assert sum(read) == path.stat().st_size
    assert len(read) > 1


# ---------------------------------------------------------------------------------------------------- the command


def koe(folder: Path, *arguments: str, **settings: str) -> Done:
    # no settings of the machine that runs the tests, and no koe.yaml
    return run(*arguments, cwd=folder, environ=settings, strict=True)


def test_the_command_needs_no_settings(tmp_path: Path) -> None:
    written(tmp_path, column("nps", three(50, 30, 20, (9, 7, 0))) + "nps,9,9\n")
    done = koe(tmp_path, "metrics", "answers.csv", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["score"] == pytest.approx(30.0)
    assert "answers.csv:102: 3 cells" in done.stderr
    table = koe(tmp_path, "metrics", "answers.csv", "--lang", "en")
    assert "+14.1 to +44.2" in table.stdout


def test_the_command_says_what_is_wrong_with_a_file_in_one_sentence(tmp_path: Path) -> None:
    written(tmp_path, "instrument,value\nreason,良い\n".encode("cp932"))
    done = koe(tmp_path, "metrics", "answers.csv")
    assert (done.returncode, done.stdout) == (1, "")
    assert "answers.csv:2: this line is not UTF-8" in done.stderr
    assert "Traceback" not in done.stderr


_OWN = """
fit:
  name: {ja: サイズ感, en: Fit}
  kind: scale
  low: 1
  high: 5
  text: {ja: サイズはいかがでしたか？, en: How did it fit?}
  positive: [4, 5]
  negative: [1, 2]
  statistic: top2
"""


def test_the_shops_own_instruments_and_time_zone_are_known(tmp_path: Path) -> None:
    (tmp_path / "flows" / "instruments").mkdir(parents=True)
    (tmp_path / "flows" / "instruments" / "own.yaml").write_text(_OWN, "utf-8")
    written(tmp_path, "answered_at,instrument,value\n" + "2026-11-16T22:30:00Z,fit,5\n" * 12)
    alone = koe(tmp_path, "metrics", "answers.csv", "--format", "json", KOE_FLOWS_DIR="flows")
    assert [record["metric"] for record in json.loads(alone.stdout)] == ["fit", "fit"]
    example = (Path(__file__).parents[2] / "koe.example.yaml").read_text("utf-8")
    (tmp_path / "koe.yaml").write_text(example.replace("Asia/Tokyo", "Europe/Berlin"), "utf-8")
    shop = koe(tmp_path, "metrics", "answers.csv", "--format", "json", KOE_FLOWS_DIR="flows")
    first, then = (json.loads(done.stdout)[0]["window"]["start"] for done in (alone, shop))
    assert (first, then) == ("2026-11-17", "2026-11-16")


def test_a_koe_yaml_with_problems_does_not_keep_a_file_from_being_measured(tmp_path: Path) -> None:
    (tmp_path / "koe.yaml").write_text("brand: 7\n", "utf-8")
    written(tmp_path, column("nps", [9] * 12))
    done = koe(tmp_path, "metrics", "answers.csv", "--format", "json")
    assert json.loads(done.stdout)[0]["n_valid"] == 12
    assert "koe check" in done.stderr
