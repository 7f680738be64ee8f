"""Masking: what leads to a person goes, what a comment says stays."""

from __future__ import annotations

import re
import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.comments.masking import PLACEHOLDER, mask


@pytest.mark.parametrize(
    ("written", "masked"),
    [
        ("taro.yamada@example.com へ", "<EMAIL> へ"),
        ("taro＠ｅｘａｍｐｌｅ．ｃｏ．ｊｐです", "<EMAIL>です"),
        ("a..b.@docomo.ne.jp", "<EMAIL>"),
        ("電話は03-1234-5678です", "電話は<PHONE>です"),
        ("０９０－１２３４－５６７８", "<PHONE>"),
        ("0901234 5678", "<PHONE>"),
        ("+81 90 1234 5678", "<PHONE>"),
        ("(06)6123-4567", "<PHONE>"),
        ("090\u200b1234\u200b5678", "<PHONE>"),
        ("٠٩٠١٢٣٤٥٦٧٨", "<PHONE>"),
        ("〒150-0001 渋谷", "<POSTAL> 渋谷"),
        ("〒１５０ー０００１", "<POSTAL>"),
        ("住所は150-0001です", "住所は<POSTAL>です"),
        ("4111 1111 1111 1111", "<CARD>"),
        ("４１１１－１１１１－１１１１－１１１１", "<CARD>"),
        ("https://example.com/a?b=c。次に", "<URL>。次に"),
        ("www.example.jpを見て", "<URL>を見て"),
        ("lin.ee/AbCdEf", "<URL>"),
        ("注文番号：A-12345です", "注文番号：<ORDER>です"),
        ("ご注文番号は250-1234567-1234567", "ご注文番号は<ORDER>"),
        ("order no. AB123", "order no. <ORDER>"),
        ("#12345 の件", "<ORDER> の件"),
        ("ORD-20261116", "<ORDER>"),
        ("@taro_yさんへ", "<HANDLE>さんへ"),
        ("＠ｔａｒｏ", "<HANDLE>"),
        ("1985-03-12生まれ", "<NUMBER>生まれ"),
        ("2026-11-16-1234567", "<CARD>"),
        ("03-1234-5678 2026-11-16", "<CARD>"),
        ("2026-13-41", "<NUMBER>"),
        ("会員は1234567です", "会員は<NUMBER>です"),
        ("㉑㉑㉑㉑", "<NUMBER>"),
        ("1️⃣2️⃣3️⃣4️⃣5️⃣6️⃣7️⃣", "<NUMBER>"),
    ],
)
def test_what_leads_to_a_person_is_masked(written: str, masked: str) -> None:
    assert mask(written) == masked


@pytest.mark.parametrize(
    "said",
    [
        "10,000円で3個買いました。",
        "5点満点で4.5点です",
        "A4サイズ、iPhone15を3台",
        "2日で届いた！　ｽｺﾞｲ",
        "24時間365日対応してほしい",
        "とても良い。満足です\nまた買います",
        "12/24の18:00に届いた",
        "2026-11-16に届いた",
        "２０２６－１１－１６に届いた",
        "(2026-11-16 10:30) に注文し、2026.11.18に着いた",
    ],
)
def test_what_a_comment_says_stays_as_it_was_written(said: str) -> None:
    assert mask(said) == said


SIGNS = "0123456789０１９①㉑٣-－ー.@＠#〒:/＿_ \n<>()abcXYZあ漢、。\u200b\ufe0f"
ALPHABET = st.sampled_from([*SIGNS, "2026-11-16", "2026", "http://", "www.", "co.jp", "注文番号", "<EMAIL>"])


@given(st.one_of(st.text(), st.lists(ALPHABET, max_size=60).map("".join)))
def test_masking_again_changes_nothing_and_no_run_of_seven_digits_is_left(text: str) -> None:
    masked = mask(text)
    assert mask(masked) == masked
    assert not re.search(r"\d{7}", masked)
    assert not re.search(r"\d{7}", unicodedata.normalize("NFKC", masked))


@given(
    st.from_regex(r"[a-z][a-z0-9._-]{0,15}@[a-z0-9]{1,10}\.(com|jp|co\.jp)", fullmatch=True),
    st.sampled_from(["", " ", "は", "（", "「", "メール:"]),
    st.sampled_from(["", " ", "です", "）", "。", "\n"]),
    st.booleans(),
)
def test_no_e_mail_address_survives_whatever_stands_around_it(address: str, left: str, right: str, wide: bool) -> None:
    written = "".join(chr(ord(char) + 0xFEE0) for char in address) if wide else address
    masked = mask(f"{left}{written}{right}")
    assert "@" not in unicodedata.normalize("NFKC", masked)
    assert PLACEHOLDER.search(masked)


@pytest.mark.parametrize("piece", ["a", "1 ", "@", "a.b-", "http://", "注文番号", "〒", "(0", "-", "#1"])
def test_a_hostile_length_takes_no_hostile_time(piece: str) -> None:
    began = time.process_time()
    mask(piece * (60_000 // len(piece)))
    assert time.process_time() - began < 2
