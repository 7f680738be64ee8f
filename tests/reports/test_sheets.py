"""Files that a spreadsheet opens: what is text stays text, what is a number stays one, whatever a customer writes."""

from __future__ import annotations

import csv
import io
import zipfile
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import openpyxl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl.utils.escape import unescape

from reports import sheets
from reports.sheets import Heading, SheetsError, check_form, csv_head, csv_line, guard, unguard

TOKYO = ZoneInfo("Asia/Tokyo")
AT_MS = int(datetime(2026, 11, 16, 10, 0, 0, 123_000, tzinfo=TOKYO).timestamp() * 1000)
HEADS = [Heading("words", "text"), Heading("score", "text"), Heading("minutes", "number"), Heading("at", "time")]
FORMULAS = [
    "=1+1",
    "+81 90",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1+1",
    "＋1",
    "－1",
    "＠こえ",
    "  =1+1",
    "　＝1",
    '=cmd|" /C calc"!A0',
    '=HYPERLINK("http://evil.example","銀行")',
    "'=1",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_nothing_that_looks_like_a_formula_begins_a_cell(text: str) -> None:
    assert guard(text) == f"'{text}"
    assert unguard(guard(text)) == text


@pytest.mark.parametrize("text", ["早い", "9点", "a=1", "1-2", "'tis", "〜3日", "ー", "", "<!channel>"])
def test_other_texts_are_left_alone(text: str) -> None:
    assert guard(text) == unguard(text) == text


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("='＝-\t\r\n 　"), max_size=20))
def test_a_guarded_text_comes_back_and_is_no_formula(text: str) -> None:
    assert unguard(guard(text)) == text
    assert not guard(text).lstrip().startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠"))
    assert not guard(text).startswith(("\t", "\r", "\n"))


@given(st.lists(st.text(st.characters(codec="utf-8") | st.sampled_from('=",;\r\n'), max_size=20), min_size=2))
def test_a_csv_line_is_read_as_it_was_written(cells: list[str]) -> None:
    line = csv_line(cells, ["text"] * len(cells), TOKYO)
    (read,) = csv.reader(io.StringIO(line, newline=""))
    assert [unguard(cell) for cell in read] == cells


def test_csv_numbers_stay_numbers_and_times_keep_their_milliseconds() -> None:
    line = csv_line(["-5", -5, -1.5, AT_MS], [head.kind for head in HEADS], TOKYO)
    assert line == '"\'-5",-5,-1.5,2026-11-16T10:00:00.123+09:00\r\n'
    assert csv_head(HEADS).encode() == b"\xef\xbb\xbfwords,score,minutes,at\r\n"


def test_a_separator_of_another_country_begins_no_cell() -> None:
    line = csv_line(["良い;=1+1", 1, None, None], [head.kind for head in HEADS], TOKYO)
    assert line.startswith('"良い;=1+1",')


def test_a_workbook_holds_texts_numbers_and_local_times(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    rows = [[text, 9, 2.5, AT_MS] for text in [*FORMULAS, "http://evil.example", "0123", "_x0041_", "\ufffe\x0b"]]
    rows.append(["", None, None, None])
    assert sheets.write_xlsx(path, "answers", HEADS, rows, tz=TOKYO, made_ms=AT_MS) == 0
    book = openpyxl.load_workbook(path)
    (sheet,) = book.worksheets
    assert [cell.value for cell in sheet[1]] == ["words", "score", "minutes", "at"]
    for line, text in enumerate(FORMULAS, 2):
        cell = sheet.cell(line, 1)
        assert cell.data_type == "s"
        assert unescape(cell.value) == text
        assert cell.quotePrefix, text
    plain = [sheet.cell(len(FORMULAS) + n, 1) for n in (2, 3, 4)]
    assert [unescape(cell.value) for cell in plain] == ["http://evil.example", "0123", "_x0041_"]
    assert all(cell.hyperlink is None for cell in plain)
    assert [type(sheet.cell(2, n).value) for n in (2, 3, 4)] == [int, float, datetime]
    assert sheet.cell(2, 4).value.replace(microsecond=0) == datetime(2026, 11, 16, 10, 0)
    with zipfile.ZipFile(path) as parts:
        xml = parts.read("xl/worksheets/sheet1.xml").decode()
        assert "<f>" not in xml
        assert "<hyperlink" not in xml


def test_rows_past_the_limit_of_a_sheet_go_on_in_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sheets.EXCEL_ROWS == 1_048_576
    monkeypatch.setattr(sheets, "EXCEL_ROWS", 4)
    for count, lengths in ((0, [1]), (3, [4]), (4, [4, 2]), (7, [4, 4, 2])):
        path = tmp_path / f"{count}.xlsx"
        sheets.write_xlsx(path, "answers", HEADS, [[f"r{n}", n, n, AT_MS] for n in range(count)], tz=TOKYO, made_ms=0)
        book = openpyxl.load_workbook(path)
        assert [sheet.max_row for sheet in book.worksheets] == lengths
        names = [row[0].value for sheet in book.worksheets for row in sheet.iter_rows(min_row=2)]
        assert names == [f"r{n}" for n in range(count)]
    assert openpyxl.load_workbook(tmp_path / "7.xlsx").sheetnames == ["answers", "answers (2)", "answers (3)"]


def test_a_text_longer_than_a_cell_is_cut_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    assert sheets.write_xlsx(path, "events", HEADS, [["あ" * 40_000, 1, 1, 0]], tz=TOKYO, made_ms=0) == 1
    assert openpyxl.load_workbook(path).active["A2"].value == "あ" * 32_767
    # Excel counts an emoji twice, and halves none
    rows = [["\U0001f600" * 16_384, 1, 1, 0], ["\U0001f600" * 16_383, 1, 1, 0]]
    assert sheets.write_xlsx(path, "events", HEADS, rows, tz=TOKYO, made_ms=0) == 1
    sheet = openpyxl.load_workbook(path).active
    assert [sheet[place].value for place in ("A2", "A3")] == ["\U0001f600" * 16_383] * 2


def test_a_workbook_larger_than_its_format_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10_000)
    rows = [[f"row {n}", n, n, AT_MS] for n in range(1_000)]
    # what a kill in the middle of another left
    (tmp_path / "a.xlsx.parts").mkdir()
    (tmp_path / "a.xlsx.parts" / "tmp1").write_text("<row>")
    with pytest.raises(SheetsError, match="larger than Excel can open"):
        sheets.write_xlsx(tmp_path / "a.xlsx", "answers", HEADS, rows, tz=TOKYO, made_ms=0)
    assert not (tmp_path / "a.xlsx.parts").exists()


def test_parquet_has_types_a_time_zone_and_meanings(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = [["=1+1", 9, 2, AT_MS], ["早い", "relief;trust", None, None]]
    sheets.write_parquet(path, HEADS, rows, tz=TOKYO, meaning=lambda name: f"the {name}")
    table = pq.read_table(path)
    assert [str(field.type) for field in table.schema] == [
        "string",
        "string",
        "double",
        "timestamp[ms, tz=Asia/Tokyo]",
    ]
    assert table.schema.field("words").metadata == {b"description": b"the words"}
    assert table["words"].to_pylist() == ["=1+1", "早い"]
    assert table["score"].to_pylist() == ["9", "relief;trust"]
    assert table["at"][0].value == AT_MS
    assert table["at"][1].as_py() is None


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets.importlib.util, "find_spec", lambda name: None)
    check_form("csv")
    with pytest.raises(SheetsError, match=r"requirements/parquet\.txt"):
        check_form("parquet")
