"""A shop under test: local LINE and Slack in this process, `koe serve` as a child of the nursery, and people who go on
whatever happens to it. Whoever gets no 2xx does what the platforms do: deliver again."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import secrets
import signal
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import aiohttp

from bot import buttons
from bot.clock import SystemClock
from bot.signatures import sign_standard_webhooks
from bot.standins.line import LineStandin
from bot.standins.slack import SlackStandin
from bot.standins.wire import serve
from bot.standins.workspace import SlackMessage
from tests.checker import CALM, check_history
from tests.nursery import ROOT, Life, Nursery

Platform = Literal["line", "slack", "socket"]
"""Where the customer is; "socket": in Slack, reached over Socket Mode."""

WAIT_S = 60.0
"""For what comes within a second or two; only a test that fails waits so long."""
_STEP_S = 0.03

ANSWERS = (("sat", "4"), ("nps", "9"), ("gift", "yes"))
"""What customers answer to the flow below, in order."""

FLOW = """
id: short
name: {ja: 短い, en: Short}
survey_kind: transactional
touchpoint: purchase
invite: inv.purchase
questions:
  - {id: sat, instrument: sat5}
  - {id: nps, instrument: nps}
  - id: gift
    type: choice
    text: {ja: 贈り物としてのご購入でしたか？, en: Was this a gift?}
    choices: [{value: yes, text: {ja: はい, en: "Yes"}}, {value: no, text: {ja: いいえ, en: "No"}}]
endings: [{when: unhappy, say: end.apology}, {say: end.middle}]
"""

SHOP = """
brand: {ja: 声の店, en: Koe Store}
privacy_url: https://example.com/privacy
support_hours: {days: mon-fri, hours: "10:00-17:00", holidays: JP}
retention: 2y
contact: {hours: "00:00-24:00", after_complaint: null}
triggers:
  - {id: after-purchase, on: purchase, flow: short, channel: [line, slack], delay: 0d}
alerts: {channel: C0ALERTS, grace: 0s}
staff: {may_trigger: [U0STAFF]}
"""


@dataclass(slots=True)
class Shop:
    """The server's surroundings, which outlive it. Made by `open_shop`."""

    directory: Path
    line: LineStandin
    slack: SlackStandin
    url: str
    environ: dict[str, str]
    nursery: Nursery
    http: aiohttp.ClientSession
    secret: str
    life: Life | None = None
    deaths: list[int] = field(default_factory=list)
    """Exit codes of the lives that ended while they should have been running."""
    accepted: list[str] = field(default_factory=list)
    """Ids of business events that were answered with 2xx."""

    @property
    def database(self) -> Path:
        return self.directory / "koe.db"

    @property
    def log(self) -> Path:
        return self.directory / "koe.log"

    async def start(self, failpoints: str = "") -> bool:
        """A new life, ready for requests; False when it ended before it was."""
        port = self.url.rpartition(":")[2]
        environ = {**self.environ, "KOE_FAILPOINTS": failpoints}
        life = self.life = self.nursery.start(["serve", "--port", port], environ, self.log)
        ended = asyncio.ensure_future(life.ended())
        try:
            async with asyncio.timeout(WAIT_S):
                while not ended.done():
                    if await self.is_ready():
                        return True
                    await asyncio.wait({ended}, timeout=_STEP_S)
        finally:
            ended.cancel()
        return False

    async def is_ready(self) -> bool:
        """Whether /readyz says so."""
        try:
            async with self.http.get(f"{self.url}/readyz") as answer:
                return answer.status == 200
        except (aiohttp.ClientError, ConnectionError):
            return False

    async def stop(self) -> float:
        """Seconds that SIGTERM took."""
        assert self.life is not None
        started = time.monotonic()
        self.life.signal(signal.SIGTERM)
        await self.life.ended()
        return time.monotonic() - started

    @contextlib.asynccontextmanager
    async def kept_up(self, failpoints: str = "") -> AsyncIterator[None]:
        """Started with the failpoints armed, started again without them whenever it dies, stopped in the end."""

        async def watch() -> None:
            alive = await self.start(failpoints)
            while True:
                assert self.life is not None
                status = await self.life.ended()
                assert len(self.deaths) < 5, f"dies again and again; {self.tail()}"
                self.deaths.append(status)
                alive = await self.start()
                assert alive or self.life.status == -signal.SIGKILL, f"cannot start again; {self.tail()}"

        watching = asyncio.create_task(watch())
        work = asyncio.current_task()

        def failed(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None and work is not None:
                work.cancel()

        watching.add_done_callback(failed)
        try:
            yield
        except asyncio.CancelledError:
            if watching.done() and not watching.cancelled() and (error := watching.exception()) is not None:
                if work is not None:
                    work.uncancel()
                raise error from None
            raise
        finally:
            watching.cancel()
            await asyncio.wait({watching})
            if self.life is not None and self.life.status is None:
                await self.stop()

    def tail(self) -> str:
        """The end of the server's log, for a failing test."""
        return self.log.read_text("utf-8", "replace")[-3000:] if self.log.exists() else "no log"

    # --- what the shop's systems do

    async def event(self, kind: str, customer: dict[str, str], **data: object) -> str:
        """A business event, sent until it is accepted. Its id."""
        number = f"{kind}-{secrets.token_hex(6)}"
        body = json.dumps(
            {
                "id": number,
                "type": kind,
                "occurred_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "customer": customer,
                "data": data,
            }
        ).encode()

        async def accepted() -> bool:
            headers = sign_standard_webhooks(body, self.secret, number, int(time.time()))
            try:
                async with self.http.post(f"{self.url}/events", data=body, headers=headers) as answer:
                    await answer.read()
                    return answer.status in (200, 202)
            except (aiohttp.ClientError, ConnectionError):
                return False

        await self.until(accepted, f"{kind} was never accepted")
        self.accepted.append(number)
        return number

    async def purchase(self, customer: dict[str, str]) -> str:
        order = f"#{secrets.token_hex(3)}"
        return await self.event("purchase", customer, order=order, amount=5400, product="マグカップ", units=1)

    # --- looking

    async def until(self, happened: Callable[[], Any], otherwise: str) -> None:
        """Returns when `happened()` (or what it awaits) is true; fails after `WAIT_S`."""
        end = time.monotonic() + WAIT_S
        while True:
            found = happened()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            assert time.monotonic() < end, f"{otherwise}\n{self.tail()}"
            await asyncio.sleep(_STEP_S)

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """What is in the database right now."""
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as db:
            return db.execute(sql, values).fetchall()

    def change(self, sql: str) -> None:
        """Change the database while no server works on it."""
        with contextlib.closing(sqlite3.connect(self.database)) as db:
            db.execute(sql)
            db.commit()

    async def settled(self) -> None:
        """Returns when a living server has nothing more to do within the next seconds."""

        async def idle() -> bool:
            if not await self.is_ready():
                return False
            soon_ms = time.time_ns() // 1_000_000 + 60_000
            busy = self.rows("SELECT 1 FROM jobs WHERE state = 'leased' OR claim_ms <= ? LIMIT 1", soon_ms)
            return not busy

        await self.until(idle, "never came to rest")

    def wrong(self, **more: Any) -> list[str]:
        """What the history checker finds."""
        expected: dict[str, Any] = {"ends": CALM, "plain": True, "lag_ms": 1000} | more
        return check_history(
            self.database,
            now_ms=time.time_ns() // 1_000_000,
            line=self.line,
            slack=self.slack,
            events=self.accepted,
            **expected,
        )

    # --- people

    def customer(self, platform: Platform) -> LinePerson | SlackPerson:
        """Somebody nobody has asked yet."""
        return LinePerson(self) if platform == "line" else SlackPerson(self)


class LinePerson:
    """A customer in LINE. LINE delivers again what got no 2xx."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.user_id = shop.line.add_user("田中", user_id=f"U{secrets.token_hex(16)}")
        self.customer = {"id": f"C-{self.user_id[:9]}", "name": "田中", "language": "ja", "line_user_id": self.user_id}

    def asked(self) -> list[str]:
        """The questions on the screen, oldest first."""
        return list(dict.fromkeys(button.node for button, _ in self._buttons()))

    def _buttons(self) -> Iterator[tuple[buttons.Button, str]]:
        for tappable in self._shop.line.tappables(self.user_id):
            button = buttons.parse(tappable.data)
            if button is not None and not button.node.startswith("@"):
                yield button, tappable.data

    def data_of(self, question: str, value: str) -> str:
        """What the button with this answer sends."""
        return next(data for button, data in self._buttons() if (button.node, button.value) == (question, value))

    async def answers(self, question: str, value: str) -> None:
        """Wait for the question, and tap (or type, for the likelihood) until it is acknowledged."""
        await self._shop.until(lambda: question in self.asked(), f"{question} never came")
        if question == "nps":
            status = await self._shop.line.says(self.user_id, value)
        else:
            status = await self._shop.line.taps(self.user_id, self.data_of(question, value))
        assert status == 200, f"{question}: LINE gave up, the last answer was {status}"

    def thanked(self) -> bool:
        """Whether the survey ended with thanks."""
        return "ありがとうございま" in self._shop.line.transcript(self.user_id).rpartition("贈り物として")[2]


class SlackPerson:
    """A customer in a Slack DM. Slack delivers events again; who gets an error at a click looks, and clicks again."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.user_id = shop.slack.add_user("佐藤")
        self.dm = shop.slack.dm_of(self.user_id)
        self.customer = {"id": f"C-{self.user_id}", "name": "佐藤", "language": "ja", "slack_user_id": self.user_id}

    def asked(self) -> list[str]:
        return list(dict.fromkeys(button.node for button, _, _ in self._buttons()))

    def _buttons(self) -> Iterator[tuple[buttons.Button, SlackMessage, dict[str, Any]]]:
        for message in self._shop.slack.messages(self.dm):
            for block in message.blocks:
                for element in block.get("elements") or ():
                    button = buttons.parse(element.get("value"))
                    if button is not None and not button.node.startswith("@"):
                        yield button, message, element

    async def answers(self, question: str, value: str) -> None:
        """Wait for the question, and click (or type, for the likelihood) until it is acknowledged."""
        await self._shop.until(lambda: question in self.asked(), f"{question} never came")
        if question == "nps":
            await self._types(value)
            return

        async def clicked() -> bool:
            found = [f for f in self._buttons() if (f[0].node, f[0].value) == (question, value)]
            if not found:
                return True  # the message has changed: it was taken after all
            _, message, element = found[0]
            ack = await self._shop.slack.clicks(
                self.user_id, self.dm, message.ts, element["action_id"], value=element["value"]
            )
            if not ack.ok:
                await self._shop.settled()
            return ack.ok

        await self._shop.until(clicked, f"{question} could not be clicked")

    async def _types(self, words: str) -> None:
        ack = await self._shop.slack.says(self.user_id, self.dm, words)

        async def taken() -> bool:
            nonlocal ack
            if not ack.ok:
                ack = await self._shop.slack.redeliver(ack.event_id)
            return ack.ok

        await self._shop.until(taken, "Slack gave up delivering")

    def thanked(self) -> bool:
        return "ありがとうございま" in self._shop.slack.transcript(self.user_id).rpartition("贈り物として")[2]


Person = LinePerson | SlackPerson


async def answers_everything(shop: Shop, person: Person) -> None:
    """A purchase, the survey, an answer to each question, thanks; then nothing more is to be done."""
    await shop.purchase(person.customer)
    for question, value in ANSWERS:
        await person.answers(question, value)
    await shop.until(person.thanked, "no thanks came")
    await shop.settled()


class open_shop:  # noqa: N801 – used as `async with open_shop(…)`
    """The surroundings of a server: stand-ins on loopback, settings, an empty folder. The server itself is started
    with `Shop.start` or `Shop.kept_up`."""

    def __init__(self, directory: Path, nursery: Nursery, *, socket_mode: bool = False, shop_yaml: str = SHOP) -> None:
        self._directory = directory
        self._nursery = nursery
        self._socket_mode = socket_mode
        self._shop_yaml = shop_yaml
        self._closing = contextlib.AsyncExitStack()
        self._shop: Shop | None = None

    async def __aenter__(self) -> Shop:
        clock = SystemClock()
        channel_secret, access_token = secrets.token_hex(16), secrets.token_urlsafe(64)
        signing_secret, bot_token = secrets.token_hex(16), f"xoxb-{secrets.token_hex(12)}"
        app_token = f"xapp-1-{secrets.token_hex(12)}"
        webhook_secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
        url = f"http://127.0.0.1:{_free_port()}"
        line = LineStandin(
            clock=clock,
            channel_secret=channel_secret,
            access_token=access_token,
            webhook_url=f"{url}/line/webhook",
            redelivery=True,
        )
        line.to_bot.redelivery_pauses_s = [0.05] * int(WAIT_S / 0.05)
        slack = SlackStandin(
            clock=clock,
            signing_secret=signing_secret,
            bot_token=bot_token,
            app_token=app_token,
            request_url=f"{url}/slack/events",
            transport="socket" if self._socket_mode else "http",
        )
        slack.add_user("高木", id="U0STAFF")
        for name in ("ALERTS", "DIGEST"):
            slack.add_channel(name.lower(), private=True, members=("U0STAFF",), id=f"C0{name}")
        flows = self._directory / "flows"
        flows.mkdir()
        (flows / "short.yaml").write_text(FLOW, "utf-8")
        (self._directory / "koe.yaml").write_text(self._shop_yaml, "utf-8")
        async with self._closing as closing:
            line_server = await serve(line.app)
            closing.push_async_callback(line_server.close)
            slack_server = await serve(slack.app)
            closing.push_async_callback(slack_server.close)
            http = aiohttp.ClientSession(trust_env=False, timeout=aiohttp.ClientTimeout(total=30))
            closing.push_async_callback(http.close)
            environ = {
                "PATH": os.environ.get("PATH", ""),
                "PYTHONPATH": str(ROOT),  # of what the server starts
                "KOE_DATABASE_URL": f"sqlite:///{self._directory / 'koe.db'}",
                "KOE_CONFIG": str(self._directory / "koe.yaml"),
                "KOE_FLOWS_DIR": str(flows),
                "KOE_SECRET_KEY": secrets.token_urlsafe(32),
                "KOE_EVENTS_SECRETS": webhook_secret,
                "LINE_CHANNEL_SECRETS": channel_secret,
                "LINE_CHANNEL_ACCESS_TOKEN": access_token,
                "LINE_API_BASE_URL": line_server.url,
                "SLACK_BOT_TOKEN": bot_token,
                "SLACK_SIGNING_SECRETS": signing_secret,
                "SLACK_API_BASE_URL": f"{slack_server.url}/api/",
            }
            if self._socket_mode:
                environ["SLACK_APP_TOKEN"] = app_token
            self._shop = Shop(
                directory=self._directory,
                line=line,
                slack=slack,
                url=url,
                environ=environ,
                nursery=self._nursery,
                http=http,
                secret=webhook_secret,
            )
            self._closing = closing.pop_all()
        return self._shop

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        life = None if self._shop is None else self._shop.life
        if life is not None and life.status is None:
            life.signal(signal.SIGKILL)
            await life.ended()
        await self._closing.aclose()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
