"""Links to report pages: ours and still good, or a polite no that tells nothing."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.digests import ReportPage
from bot.http import make_app
from bot.reports import ReportLinks
from bot.standins import serve

KEY = "k" * 43
NOW_S = 1_795_000_000.0


def links(*, key: str = KEY, now_s: float = NOW_S, url: str | None = "https://koe.example.com/koe/") -> ReportLinks:
    return ReportLinks(url, key, now_s=lambda: now_s)


def token_of(address: str | None) -> str:
    assert address is not None
    return parse_qs(urlsplit(address).query)["token"][0]


def test_a_link_stands_under_the_public_address_and_opens_its_own_page_for_thirty_days() -> None:
    address = links().link("weekly", "2026-W47")
    assert address is not None
    assert address.startswith("https://koe.example.com/koe/reports/weekly/2026-W47?token=")
    token = token_of(address)
    assert links().why_refused("weekly", "2026-W47", token) is None
    end_s = NOW_S + 30 * 86_400
    assert links(now_s=end_s - 1).why_refused("weekly", "2026-W47", token) is None
    assert links(now_s=end_s).why_refused("weekly", "2026-W47", token) == "expired"


@pytest.mark.parametrize(
    ("digest_id", "period"), [("weekly", "2026-W48"), ("other", "2026-W47"), ("weekly2026", "-W47"), ("", "")]
)
def test_it_opens_no_other_page(digest_id: str, period: str) -> None:
    assert links().why_refused(digest_id, period, token_of(links().link("weekly", "2026-W47"))) == "mismatch"


@pytest.mark.parametrize("words", ["../../etc", "a/b", "a\r\nX-Evil: 1", "a\u202eb", "a?token=1#b", "..", "<b>|x"])
def test_a_link_has_one_step_for_each_of_its_words_whatever_they_are(words: str) -> None:
    address = links().link(words, words)
    assert address is not None
    assert re.fullmatch(r"https://koe\.example\.com/koe/reports/[\w.%-]+/[\w.%-]+\?token=[\w.-]+", address, re.ASCII)
    *_, digest_id, period = urlsplit(address).path.split("/")
    assert (unquote(digest_id), unquote(period)) == (words, words)
    assert links().why_refused(words, words, token_of(address)) is None


def test_a_later_end_or_another_key_is_no_signature_of_ours() -> None:
    expires, _, signature = token_of(links().link("weekly", "2026-W47")).partition(".")
    assert links().why_refused("weekly", "2026-W47", f"{int(expires) + 1}.{signature}") == "mismatch"
    assert links(key="z" * 43).why_refused("weekly", "2026-W47", f"{expires}.{signature}") == "mismatch"
    assert links(key="").why_refused("weekly", "2026-W47", f"{expires}.{signature}") == "no_secret"


def test_without_an_address_or_a_key_there_is_no_link() -> None:
    assert links(url=None).link("weekly", "2026-W47") is None
    assert links(key="").link("weekly", "2026-W47") is None


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=120))
def test_no_text_is_a_token_and_none_raises(digest_id: str, period: str, token: str) -> None:
    assert links().why_refused(digest_id, period, token) is not None


async def served(page: ReportPage | None) -> Any:
    async def report_page(digest_id: str, period: str) -> ReportPage | None:
        return page if (digest_id, period) == ("weekly", "2026-W47") else None

    koe = SimpleNamespace(report_links=ReportLinks("http://x", KEY), report_page=report_page)
    return await serve(make_app(koe))  # type: ignore[arg-type]


async def test_a_good_link_shows_the_stored_page_with_its_policy_and_is_kept_by_nobody() -> None:
    server = await served(ReportPage("<!doctype html><p>声</p>", "default-src 'none'"))
    try:
        path = urlsplit(ReportLinks("http://x", KEY).link("weekly", "2026-W47") or "")
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{server.url}{path.path}?{path.query}") as answer:
                assert answer.status == 200
                assert "声" in await answer.text()
                assert answer.headers["content-security-policy"] == "default-src 'none'"
                assert answer.headers["cache-control"] == "no-store"
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert answer.headers["referrer-policy"] == "no-referrer"
                assert "noindex" in answer.headers["x-robots-tag"]
            async with http.post(f"{server.url}{path.path}?{path.query}") as answer:
                assert answer.status == 405
    finally:
        await server.close()


@pytest.mark.parametrize("token", ["", "x", "1." + "A" * 43, "9" * 12 + "." + "A" * 43, "%00", "1.2.3"])
async def test_a_wrong_link_is_refused_in_both_languages_or_as_json_and_gives_no_reason(token: str) -> None:
    server = await served(ReportPage("secret", ""))
    try:
        async with aiohttp.ClientSession() as http:
            address = f"{server.url}/reports/weekly/2026-W47?token={token}"
            async with http.get(address, headers={"accept": "text/html,*/*"}) as answer:
                assert answer.status == 403
                told = await answer.text()
                assert "有効期限" in told
                assert "newer digest" in told
                assert "secret" not in told
                assert answer.headers["cache-control"] == "no-store"
            async with http.get(address, headers={"accept": "application/json"}) as answer:
                assert answer.status == 403
                assert set(await answer.json()) == {"error", "message"}
    finally:
        await server.close()


async def test_a_digest_without_a_page_says_so_to_those_who_may_ask() -> None:
    server = await served(None)
    try:
        path = urlsplit(ReportLinks("http://x", KEY).link("weekly", "2026-W47") or "")
        async with aiohttp.ClientSession() as http, http.get(f"{server.url}{path.path}?{path.query}") as answer:
            assert answer.status == 404
            assert (await answer.json())["error"] == "no_page"
    finally:
        await server.close()
