"""The commands as an operator runs them: in a process of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from bot.signatures import sign_line, sign_standard_webhooks
from bot.standins.line import LineStandin
from bot.standins.wire import serve
from tests.nursery import Done, run

ROOT = Path(__file__).parents[2]
HEAVY = (
    "pandas", "matplotlib", "scipy", "statsmodels", "slack_bolt", "slack_sdk", "linebot", "aiohttp", "pyarrow",
    "xlsxwriter",
)  # fmt: skip
SECRET = "whsec_" + "QUJD" * 8
CHANNEL_SECRET = "0123456789abcdef" * 2
SHOP = """brand: {ja: 声の店, en: Koe Store}
team: {ja: お客さま窓口, en: our team}
privacy_url: https://shop.example/privacy
support_hours: {days: mon-fri, hours: "10:00-17:00", holidays: JP}
retention: 2y
timezone: Asia/Tokyo
language: ja
primary_metric: nps
triggers:
  - {id: after-support, on: ticket_resolved, flow: after_support}
contact: {hours: null}
"""


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """Nothing of this machine but the path, and a shop in `folder`."""
    (folder / "koe.yaml").write_text(SHOP, encoding="utf-8")
    return {
        "PATH": os.environ["PATH"],
        "KOE_DATABASE_URL": f"sqlite:///{folder / 'koe.db'}",
        "KOE_CONFIG": str(folder / "koe.yaml"),
        "KOE_SECRET_KEY": "k" * 43,
        "KOE_EVENTS_SECRETS": SECRET,
        "LINE_CHANNEL_SECRETS": CHANNEL_SECRET,
        "LINE_CHANNEL_ACCESS_TOKEN": "t" * 170,
        **settings,
    }


def koe(folder: Path, *arguments: str, **settings: str) -> Done:
    return run(*arguments, cwd=folder, environ=environment(folder, **settings))


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from bot.cli import main\n"
        "sys.argv = ['koe', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip().endswith("[]")
    for command in ("serve", "check", "demo", "digest", "import", "export"):
        assert re.search(rf"^  {command}\b", done.stdout, re.MULTILINE)


def test_every_command_shows_an_example() -> None:
    from typer.main import get_command

    from bot.cli import app

    def leaves(command: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
        inside = getattr(command, "commands", None)
        if inside is None:
            yield path, str(getattr(command, "help", ""))
        else:
            for name, each in inside.items():
                yield from leaves(each, (*path, name))

    found = dict(leaves(get_command(app), ()))
    assert len(found) >= 5
    for path, help_text in found.items():
        assert f"koe {' '.join(path)}" in help_text.partition("Example:")[2], path


def test_check_says_that_all_is_well_or_everything_that_is_not(tmp_path: Path) -> None:
    good = koe(tmp_path, "check")
    assert (good.returncode, good.stdout.strip()) == (0, "Everything is in order."), good.stderr
    idle = koe(tmp_path, "check", SHOPIFY_WEBHOOK_SECRETS="abc123", ZENDESK_WEBHOOK_SECRETS="def456")
    assert idle.returncode == 0
    assert [line.partition(" has no effect")[0] for line in idle.stdout.splitlines()] == [
        "SHOPIFY_WEBHOOK_SECRETS",
        "ZENDESK_WEBHOOK_SECRETS",
        "Everything is in order.",
    ]
    assert "POST /events" in idle.stdout
    bad = koe(tmp_path, "check", LINE_CHANNEL_ACCESS_TOKEN="", KOE_PORT="many")
    assert bad.returncode == 2
    assert "LINE_CHANNEL_ACCESS_TOKEN" in bad.stderr
    assert "KOE_PORT" in bad.stderr
    assert "Traceback" not in bad.stderr


@pytest.mark.parametrize("command", [("serve",), ("digest",), ("import", "events", "x.csv")])
def test_a_bad_configuration_starts_nothing(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = koe(tmp_path, *command, LINE_CHANNEL_SECRETS="")
    assert done.returncode == 2
    assert "LINE_CHANNEL_SECRETS" in done.stderr
    assert not (tmp_path / "koe.db").exists()


def test_a_week_that_is_not_over_is_shown_with_a_word_and_never_posted(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("id,type,occurred_at,customer.id\na,purchase,2026-10-01,C1")
    assert koe(tmp_path, "import", "events", "old.csv").returncode == 0
    settings = environment(tmp_path, SLACK_BOT_TOKEN="xoxb-1-1-x", SLACK_SIGNING_SECRETS="a" * 32)
    (tmp_path / "koe.yaml").write_text(SHOP + "digests: [{id: weekly, channel: C0DIGEST}]\n", encoding="utf-8")
    shown, posted = (
        run("digest", "--week", "2999-W01", *more, cwd=tmp_path, environ=settings) for more in ((), ("--post",))
    )
    assert (shown.returncode, posted.returncode) == (0, 1)
    assert "2999-W01 is not over yet: its numbers will change." in shown.stderr
    assert "週次レポート" in shown.stdout
    assert "2999-W01 is not over yet: post it when it is" in posted.stderr


@pytest.mark.parametrize("command", ["demo", "serve"])
def test_a_port_that_is_taken_is_said_before_anything_begins(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from bot.cli import app

    monkeypatch.chdir(tmp_path)
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = CliRunner().invoke(app, [command, "--port", str(port)])
    assert done.exit_code == 1
    assert f"cannot listen on 127.0.0.1:{port}: something listens there already" in done.stderr
    assert f"koe {command} --port" in done.stderr
    assert not (tmp_path / "koe.db").exists()


def test_import_tells_what_became_of_each_row(tmp_path: Path) -> None:
    rows = ["id,type,occurred_at,customer.id", "a,purchase,2026-10-01,C1", "b,purchase,someday,C1"]
    (tmp_path / "old.csv").write_text("\n".join(rows))
    done = koe(tmp_path, "import", "events", "old.csv")
    assert done.returncode == 1
    assert "1 stored, 0 known before, 1 bad." in done.stdout
    assert "old.csv:3: occurred_at is 'someday'" in done.stderr
    (tmp_path / "sjis.csv").write_bytes("id,type,occurred_at\n店,購入,今日\n".encode("shift_jis"))
    done = koe(tmp_path, "import", "events", "sjis.csv")
    assert done.returncode in (1, 2)
    assert "Shift_JIS" in done.stderr
    assert "Traceback" not in done.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code
    except OSError:
        return 0


def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    request = urllib.request.Request(url, body, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def loaded(pid: int) -> str:
    """The files a process has mapped: compiled modules show here, whoever imported them."""
    return Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads /proc")
async def test_a_server_serves_a_survey_without_pandas_refuses_a_second_one_and_stops_politely(tmp_path: Path) -> None:
    class RealClock:
        def now_ms(self) -> int:
            return time.time_ns() // 1_000_000

    line = LineStandin(clock=RealClock(), channel_secret=CHANNEL_SECRET, access_token="t" * 170, webhook_url="")
    line_server = await serve(line.app)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = environment(tmp_path, LINE_API_BASE_URL=line_server.url, KOE_PORT=str(port))
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bot.cli",
        "serve",
        cwd=tmp_path,
        env=settings | {"PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert server.stdout is not None
        async with asyncio.timeout(20):
            assert b"Koe listens" in await server.stdout.readline()
            while await asyncio.to_thread(get, f"{url}/readyz") != 200:
                await asyncio.wait({asyncio.create_task(server.wait())}, timeout=0.05)
        line.to_bot.webhook_url = f"{url}/line/webhook"
        user = line.add_user("田中")
        event = {
            "id": "t1",
            "type": "ticket_resolved",
            "occurred_at": "2026-11-16T10:00:00+09:00",
            "customer": {"id": "C1", "line_user_id": user},
            "data": {"ticket": "1"},
        }
        body = json.dumps(event).encode()
        headers = sign_standard_webhooks(body, SECRET, "m1", int(time.time()))
        arrived = asyncio.Event()
        line.on_change.append(arrived.set)
        assert await asyncio.to_thread(post, f"{url}/events", body, headers) == 202
        async with asyncio.timeout(10):
            while "手間や負担" not in line.transcript(user):
                arrived.clear()
                await arrived.wait()
            await line.says(user, "2")
            while "満足していますか" not in line.transcript(user):
                arrived.clear()
                await arrived.wait()
        maps = loaded(server.pid)
        for heavy in ("pandas", "matplotlib", "scipy", "statsmodels", "/numpy/"):
            assert heavy not in maps, heavy
        second = await asyncio.to_thread(
            lambda: koe(tmp_path, "serve", LINE_API_BASE_URL=line_server.url, KOE_PORT=str(free_port()))
        )
        assert second.returncode != 0
        assert "another" in second.stderr.lower()
        assert "Traceback" not in second.stderr
        beside = await asyncio.to_thread(lambda: koe(tmp_path, "import", "events", "none.csv"))
        assert beside.returncode == 1
        assert "none.csv" in beside.stderr
        empty = b'{"destination":"U0","events":[]}'
        assert await asyncio.to_thread(post, f"{url}/line/webhook", empty, sign_line(empty, CHANNEL_SECRET)) == 200
        started = time.monotonic()
        server.terminate()
        async with asyncio.timeout(10):
            assert await server.wait() == 0
        assert time.monotonic() - started < 10
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.kill()
        await server.communicate()
        await line_server.close()
