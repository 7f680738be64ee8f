"""Lists of customers as people save them: what is read, and what is refused with a sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.staff.asking import FlowOption
from bot.staff.bulk import render_bulk_view
from bot.staff.customer_list import FILE_LIMIT, ROWS_LIMIT, BadList, ListedRow, read_list
from bot.standins.blocks import validate_view


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("customer\nC001\nC002\n", [(2, "C001", False), (3, "C002", False)]),
        ("\ufeffCustomer,name\r\nC001,田中\r\n", [(2, "C001", False)]),
        ("C001\nC002", [(1, "C001", False), (2, "C002", False)]),
        ("name;order\n田中;#1042\n\n佐藤;#1043", [(2, "#1042", True), (4, "#1043", True)]),
        ("お客さま番号\t名前\nC001\t田中", [(2, "C001", False)]),
        ('customer,memo\n"C001","a, b"\n"C002","two\nlines"\n', [(2, "C001", False), (4, "C002", False)]),
        ("customer,order\nC001,#1\n,#2", [(2, "C001", False)]),
        ("customer\n C001 \n", [(2, "C001", False)]),
    ],
)  # fmt: skip
def test_whom_a_list_names(text: str, rows: list[tuple[int, str, bool]]) -> None:
    assert read_list(text.encode()) == [ListedRow(*row) for row in rows]


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (b"", "bad.empty"),
        (b"customer\n\n\n", "bad.empty"),
        (b" \n \n", "bad.empty"),
        ("name,city\n田中,東京".encode(), "bad.columns"),
        ("customer,name\nC001,田中".encode("cp932"), "bad.sjis"),
        ("customer\nC001".encode("utf-16"), "bad.encoding"),
        (b"customer\n\xff\xfe\x81", "bad.encoding"),
        (b"customer\n" + b"C1\n" * (ROWS_LIMIT + 1), "bad.rows"),
        (b"x" * (FILE_LIMIT + 1), "bad.size"),
        (b"customer\n" + b"y" * 200_000, "bad.encoding"),
    ],
)
def test_a_file_that_is_no_list_is_refused_with_its_own_sentence(content: bytes, key: str) -> None:
    with pytest.raises(BadList) as refused:
        read_list(content)
    assert refused.value.key == key


@given(st.binary(max_size=300))
def test_no_bytes_break_it(content: bytes) -> None:
    try:
        rows = read_list(content)
    except BadList:
        return
    assert rows
    assert all(row.word and row.line >= 1 for row in rows)


@pytest.mark.parametrize("lang", ["ja", "en"])
def test_the_window_is_within_slacks_limits(lang: str) -> None:
    flows = [FlowOption(f"flow_{n}", "長い名前" * 40) for n in range(150)]
    assert validate_view(render_bulk_view(flows, channels=("line", "slack"), lang=lang)) == []
