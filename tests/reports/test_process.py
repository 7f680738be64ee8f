"""The short-lived child process that the server starts for a digest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from report_history import NOW_MS, History, digest_of

from reports.__main__ import RequestError, read_request
from reports.comments.free_text import FreeTexts
from reports.digest import with_texts
from reports.instruments import bundled_instruments
from reports.render import render_json, render_slack, render_text, render_thread
from reports.trust import account as trust
from tests import nursery
from tests.nursery import Done

BRAND = {"ja": "声の店", "en": "Koe Store"}


def run(request: dict[str, Any] | bytes, *options: str) -> Done:
    text = request if isinstance(request, bytes) else json.dumps(request).encode()
    return nursery.run("digest", *options, cwd=nursery.ROOT, stdin=text, program="reports", strict=True)


async def test_a_digest_goes_from_stdin_to_stdout(tmp_path: Path) -> None:
    h = History()
    h.nps(20, 10, 45)
    context = with_texts(await digest_of(h, tmp_path), FreeTexts())
    request = {"database": f"sqlite:///{tmp_path / 'koe.db'}", "period": "2026-W47", "now_ms": NOW_MS, "brand": BRAND,
               "digest": {"id": "weekly", "language": "ja", "where": {}}, "timezone": "Asia/Tokyo", "targets": {},
               "primary_metric": "nps"}  # fmt: skip
    # as the server starts it
    done = subprocess.run(  # noqa: ASYNC221 - nothing else runs in this loop
        [sys.executable, "-W", "error", "-m", "reports", "digest"],
        input=json.dumps(request).encode(), cwd=nursery.ROOT, capture_output=True, timeout=600, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    made = json.loads(done.stdout)
    assert made == {
        "period": "2026-W47",
        "slack": render_slack(context),
        "thread": render_thread(context),
        "voices": None,
        "text": render_text(context),
        "json": render_json(context),
    }
    by_options = run(
        {"brand": BRAND}, "--database", str(request["database"]), "--id", "weekly", "--now-ms", str(NOW_MS)
    )
    assert json.loads(by_options.out) == made


async def test_the_trust_balances_are_in_the_json_when_the_rules_are_given(tmp_path: Path) -> None:
    h = History()
    h.nps(30, 12, 45)
    await digest_of(h, tmp_path)
    request = {"database": f"sqlite:///{tmp_path / 'koe.db'}", "period": "2026-W47", "now_ms": NOW_MS, "brand": BRAND,
               "digest": {"id": "weekly"}, "trust": msgspec.to_builtins(trust.DEFAULT, str_keys=True)}  # fmt: skip
    made = json.loads(run(request).out)["json"]["trust"]
    scores = {found["variant"]: (found["score"], found["n_valid"]) for found in made}
    # answers of some minutes after Tuesday midnight, looked at on the Monday after
    assert scores["mean"] == (pytest.approx((30 * 2 * 2 ** (-6 / 180) - 12 * 4 * 2 ** (-6 / 360)) / 45, abs=1e-3), 45)
    assert scores["share_overdrawn"] == (pytest.approx(100 * 12 / 45), 45)
    assert scores["crossed_below_zero"] == (12, 45)
    narrowed = {**request, "digest": {"id": "weekly", "where": {"segment": "kyoto"}}}
    assert json.loads(run(narrowed).out)["json"]["trust"] == []


def test_a_database_that_is_not_there_is_exit_1_and_one_sentence(tmp_path: Path) -> None:
    missing = tmp_path / "none.db"
    done = run({"database": f"sqlite:///{missing}", "now_ms": NOW_MS, "brand": BRAND, "digest": {"id": "weekly"}})
    assert (done.returncode, done.out) == (1, b"")
    assert b"none.db" in done.err
    assert b"Traceback" not in done.err
    assert not missing.exists()


def test_a_wrong_request_is_exit_2_and_one_sentence() -> None:
    done = run(b"\xff")
    assert (done.returncode, done.out) == (2, b"")
    assert b"stdin is not JSON" in done.err
    assert done.err.count(b"\n") == 1


GOOD = {"database": "sqlite:///koe.db", "now_ms": 1, "brand": BRAND, "digest": {"id": "weekly"}}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"timezone": "Asia/Kyoto"}, "timezone"),
        ({"timezone": "../etc/passwd"}, "timezone"),
        ({"period": "2026-W60"}, "2026-W60"),
        ({"language": "fr"}, "language"),
        ({"unheard": 1}, "unheard"),
        ({"digest": {}}, "digest.id"),
        ({"now_ms": "soon"}, "now_ms"),
    ],
)
def test_each_wrong_setting_is_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(RequestError, match=named):
        read_request(json.dumps({**GOOD, **change}).encode())


def test_all_wrong_settings_are_named_together() -> None:
    with pytest.raises(RequestError) as caught:
        read_request(b'{"language": "fr"}')
    for name in ("database", "now_ms", "brand", "digest", "language"):
        assert name in str(caught.value)


def test_options_win_over_stdin() -> None:
    request = read_request(json.dumps(GOOD).encode(), {"id": "monthly", "now_ms": 5})
    assert (request.digest.id, request.now_ms, request.database) == ("monthly", 5, "sqlite:///koe.db")


def test_a_shop_may_bring_its_own_instruments() -> None:
    own = {name: instrument.model_dump(mode="json") for name, instrument in bundled_instruments().items()}
    request = read_request(json.dumps({**GOOD, "instruments": own}).encode())
    assert request.instruments == dict(bundled_instruments())
