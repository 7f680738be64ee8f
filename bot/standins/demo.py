"""The whole product on this machine: the stand-ins for LINE and Slack, the bot as a shop runs it, and the page.

The bot is built by bot.app like any other; it reaches the stand-ins through the real SDKs. No branch in it knows that
this is a demo: only its settings and its clock come from here.
"""

from __future__ import annotations

import base64
import itertools
import json
import random
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import aiohttp
import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.app import Koe, build
from bot.clock import Chance, StoryClock
from bot.digests import Reports, in_a_process
from bot.http import Web, make_app
from bot.listener import Listener, Post
from bot.loading import load
from bot.signatures import sign_standard_webhooks
from bot.slack.manifest import manifest
from bot.standins.line import LineStandin
from bot.standins.slack import SlackStandin
from bot.standins.wire import Served, serve
from flows.source import parse_yaml

log = structlog.get_logger(__name__)

TOKYO = ZoneInfo("Asia/Tokyo")
PRESENT = datetime(2026, 11, 19, 10, 0, tzinfo=TOKYO)
"""The Thursday on which the demo begins; its history lies before."""
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

Transport = Literal["http", "socket"]

_SURNAMES = [
    "佐藤",
    "鈴木",
    "高橋",
    "田中",
    "伊藤",
    "渡辺",
    "山本",
    "中村",
    "小林",
    "加藤",
    "吉田",
    "山田",
    "松本",
    "井上",
    "木村",
    "林",
    "清水",
    "山口",
    "森",
    "池田",
    "橋本",
    "石川",
    "前田",
    "藤田",
    "岡田",
]
_FIRST_NAMES = ["Emma", "Liam", "Olivia", "Noah", "Ava", "Lucas", "Mia", "Ethan", "Sofia", "Leo"]
_PRODUCTS = [
    "ギフトセット",
    "マグカップ",
    "コーヒー豆",
    "リネンのエプロン",
    "木のカトラリー",
    "今治タオル",
    "南部鉄器の急須",
    "手ぬぐい",
]
_PRODUCTS_EN = ["linen napkins", "stoneware mugs", "coffee beans", "green tea", "wooden cutlery"]
_STORES = ["online", "kyoto", "tokyo"]


@dataclass(slots=True)
class Buyer:
    """A customer of the demo: who they are to the shop and on the platforms."""

    customer_id: str
    name: str
    language: Literal["ja", "en"]
    line_user_id: str = ""
    slack_user_id: str = ""


@dataclass(slots=True)
class World:
    """Everything that runs, and the hand that moves the clock."""

    clock: StoryClock
    line: LineStandin
    slack: SlackStandin
    koe: Koe
    bot_url: str
    directory: Path
    rng: random.Random
    secret: str
    _servers: list[Served]
    _session: aiohttp.ClientSession
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1001))
    _closing: list[Callable[[], object]] = field(default_factory=list)

    # --- what the shop's own systems do

    def new_buyer(self, language: Literal["ja", "en"] = "ja", *, channel: Literal["line", "slack"] = "line") -> Buyer:
        """A person nobody has surveyed yet."""
        number = next(self._numbers)
        name = self.rng.choice(_SURNAMES if language == "ja" else _FIRST_NAMES)
        buyer = Buyer(customer_id=f"C{number}", name=name, language=language)
        if channel == "line":
            buyer.line_user_id = self.line.add_user(name, language, user_id=f"U{self.rng.getrandbits(128):032x}")
        else:
            buyer.slack_user_id = self.slack.add_user(name, locale="ja-JP" if language == "ja" else "en-US")
        return buyer

    async def event(self, kind: str, buyer: Buyer, **data: object) -> None:
        """POST /events, signed as the shop's systems would; the time is Koe's."""
        customer = {"id": buyer.customer_id, "name": buyer.name, "language": buyer.language}
        if buyer.line_user_id:
            customer["line_user_id"] = buyer.line_user_id
        if buyer.slack_user_id:
            customer["slack_user_id"] = buyer.slack_user_id
        number = f"{kind}-{next(self._numbers)}"
        occurred = datetime.fromtimestamp(self.clock.now_ms() / 1000, TOKYO)
        body = json.dumps(
            {
                "id": number,
                "type": kind,
                "occurred_at": occurred.isoformat(),
                "customer": customer,
                "data": data,
            }
        ).encode()
        headers = sign_standard_webhooks(body, self.secret, number, int(time.time()))
        async with self._session.post(f"{self.bot_url}/events", data=body, headers=headers) as answer:
            if answer.status != 202:
                raise RuntimeError(f"POST /events said {answer.status}: {await answer.text()}")

    async def purchase(self, buyer: Buyer, *, late_days: int = 0) -> str:
        """A purchase that is delivered at once, so many days after it was promised; the survey follows by the rule of
        the shop. Returns the order's number."""
        products = _PRODUCTS if buyer.language == "ja" else _PRODUCTS_EN
        order = f"#{next(self._numbers)}"
        bought = {
            "order": order,
            "amount": self.rng.choice([2800, 3600, 5400, 8800]),
            "product": self.rng.choice(products),
        }
        store = self.rng.choice(_STORES)
        await self.event("purchase", buyer, units=1, store=store, **bought)
        due = datetime.fromtimestamp(self.clock.now_ms() / 1000, TOKYO) - timedelta(days=late_days)
        await self.event(
            "delivery", buyer, order=order, amount=bought["amount"], store=store, due=due.date().isoformat()
        )
        return order

    async def support_case(self, buyer: Buyer) -> None:
        await self.event("ticket_resolved", buyer, ticket=f"T{next(self._numbers)}", channel="mail")

    # --- time

    async def settle(self) -> None:
        """Returns when everything that is due has happened."""
        await self.line.to_bot.settled()
        await self.koe.worker.settled()

    async def advance_to(self, at_ms: int) -> None:
        """Move the clock from due job to due job until `at_ms`."""
        while True:
            await self.settle()
            due_ms = await self.koe.worker.next_due_ms()
            if due_ms is None or due_ms > at_ms:
                self.clock.advance_to(at_ms)
                await self.settle()
                return
            self.clock.advance_to(due_ms)

    async def advance(self, by_ms: int) -> None:
        await self.advance_to(self.clock.now_ms() + by_ms)

    async def until(self, happened: Callable[[], bool], *, within_ms: int) -> bool:
        """Move from due job to due job until `happened()`; False when it did not within `within_ms`."""
        end_ms = self.clock.now_ms() + within_ms
        while True:
            await self.settle()
            if happened():
                return True
            due_ms = await self.koe.worker.next_due_ms()
            if due_ms is None or due_ms > end_ms:
                self.clock.advance_to(end_ms)
                await self.settle()
                return happened()
            self.clock.advance_to(due_ms)

    async def close(self) -> None:
        await self.koe.stop()
        for server in self._servers:
            await server.close()
        await self._session.close()


class _Door:
    """What answers at the bot's address: the bot is told its own address before it is built."""

    app: ASGIApp | None = None

    def __init__(self) -> None:
        self.posts: dict[bytes, Post] = {}

    def open(self, web: Web) -> None:
        self.app = web
        self.posts.update(web.posts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None, "nothing is sent to the bot before it stands"
        await self.app(scope, receive, send)


async def open_world(
    directory: Path,
    *,
    start_ms: int,
    transport: Transport = "http",
    seed: int = 7,
    shop: Mapping[str, object] | None = None,
    settings: Mapping[str, str] | None = None,
    reports: Reports = in_a_process,
) -> World:
    """Start the stand-ins and the bot on free loopback ports, with a fresh database in `directory`. `shop` replaces
    whole sections of the demo's koe.yaml, `settings` adds to its environment; `reports` is where digests are
    computed."""
    rng = random.Random(seed)  # noqa: S311 - a story that repeats itself
    clock = StoryClock(start_ms)
    channel_secret, access_token = secrets.token_hex(16), secrets.token_urlsafe(64)
    signing_secret, bot_token = secrets.token_hex(16), f"xoxb-{secrets.token_hex(12)}"
    app_token = f"xapp-1-{secrets.token_hex(12)}"
    webhook_secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()

    line = LineStandin(clock=clock, channel_secret=channel_secret, access_token=access_token, webhook_url="")
    slack = SlackStandin(
        clock=clock,
        signing_secret=signing_secret,
        bot_token=bot_token,
        app_token=app_token,
        request_url="",
        takes_charts=False,  # the picture is what more workspaces see
    )
    line_server, slack_server = await serve(line.app), await serve(slack.app)
    door = _Door()
    bot_server = await serve(door, http=Listener.with_posts(door.posts))
    slack.add_user("高木（スタッフ）", id="U0STAFF")
    slack.add_user("店長（マネージャー）", id="U0MANAGER")
    slack.add_channel("voc-alerts", private=True, members=("U0STAFF", "U0MANAGER"), id="C0ALERTS")
    slack.add_channel("voc-digest", private=True, members=("U0STAFF", "U0MANAGER"), id="C0DIGEST")
    slack.add_channel("voc-digest-en", private=True, members=("U0STAFF", "U0MANAGER"), id="C0DIGESTEN")

    config_file = directory / "koe.yaml"
    written = resources.files("bot.standins").joinpath("shop/koe.yaml").read_text("utf-8")
    # JSON is YAML too
    sections = parse_yaml(written.encode(), "koe.yaml").data  # not safe_load: the word `on` would be read as true
    config_file.write_text(json.dumps({**sections, **shop}) if shop else written, "utf-8")
    environ = {
        "KOE_DATABASE_URL": f"sqlite:///{directory / 'koe.db'}",
        "KOE_CONFIG": str(config_file),
        "KOE_SECRET_KEY": secrets.token_urlsafe(32),
        "KOE_PUBLIC_URL": bot_server.url,
        "KOE_EVENTS_SECRETS": webhook_secret,
        "LINE_CHANNEL_SECRETS": channel_secret,
        "LINE_CHANNEL_ACCESS_TOKEN": access_token,
        "LINE_API_BASE_URL": line_server.url,
        "SLACK_BOT_TOKEN": bot_token,
        "SLACK_SIGNING_SECRETS": signing_secret,
        "SLACK_API_BASE_URL": f"{slack_server.url}/api/",
    }
    slack.to_bot.transport = transport
    if transport == "socket":
        environ["SLACK_APP_TOKEN"] = app_token
    environ |= settings or {}
    config = load(environ=environ, env_file=None)
    slack.installs(
        manifest(
            name=config.shop.brand_in(config.shop.language),
            lang=config.shop.language,
            public_url=None,
            socket=True,  # Slack itself calls https addresses only; where it reaches the bot is said below
            channels=config.shop.alerts is not None or bool(config.shop.digests),
            groups=bool(config.shop.staff.groups),
        )
    )
    koe = await build(config, clock=clock, chance=Chance(seed), reports=reports)
    door.open(make_app(koe))
    line.to_bot.webhook_url = f"{bot_server.url}/line/webhook"
    slack.to_bot.request_url = f"{bot_server.url}/slack/events"
    await koe.start(schedule=False)
    return World(
        clock=clock,
        line=line,
        slack=slack,
        koe=koe,
        bot_url=bot_server.url,
        directory=directory,
        rng=rng,
        secret=webhook_secret,
        _servers=[bot_server, line_server, slack_server],
        _session=aiohttp.ClientSession(),
    )
