"""The one place that builds things, and closes them in reverse order. Tests and the demo build the same way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import structlog

from bot import experiments, measures, signatures
from bot.cards import Cards
from bot.channel import Channel, Ignored, Inbound, JsonObject
from bot.clock import Chance, Clock
from bot.conversation import Conversation, WakePayload
from bot.digests import Digests, ReportPage, Reports, in_a_process, read_page
from bot.events.intake import EventIntake
from bot.invitations import Invitations, overridable
from bot.outbox import Outbox, Units
from bot.pacing import Pacer
from bot.promises import Promises
from bot.relay import Relay
from bot.reports import ReportLinks
from bot.retention import Retention
from bot.staff.asking import FlowOption, SurveyPorts, SurveyRequest
from bot.staff.glance import Glance, LineBudget
from bot.staff.home import HomeDesk
from bot.trust import TrustWatch
from bot.voice import NO_REPLY, Voice
from bot.worker import Worker
from flows.triggers import CHANNELS, next_open_ms
from storage.records import AuditEntry, Job
from storage.store import Store, Tx, open_store

if TYPE_CHECKING:
    import aiohttp

    from bot.config import Config, Settings
    from bot.line import LineChannel
    from bot.slack.app import SlackApp, SlackInbound
    from bot.slack.channel import SlackChannel
    from bot.staff.access import Access
    from bot.staff.audience import Audience
    from bot.staff.bulk import BulkDesk
    from bot.staff.cases import CaseDesk
    from bot.staff.commands import CommandDesk

log = structlog.get_logger(__name__)

_IDENTITY_TRIES = 3
_READING_MS = 500
_DAY_MS = 86_400_000
_FORGET_AT_ONCE = 20
_TIDIED_AT_ONCE = 500
_TRAFFIC_KEPT_MS = 60 * _DAY_MS
_MOST_READERS = 200
_CASES_AT_A_GLANCE = 200
_GLANCE_S = 2.0
_HARDLY_DUE_MS = 3_000
_BUDGET_MS = 10 * 60_000


class CannotStart(RuntimeError):
    """Koe cannot run like this; the sentence says why and what to do."""


class Koe:
    """Everything that is built, for one shop. Made by `build`; `start` sets it going, `stop` ends it."""

    def __init__(
        self,
        *,
        config: Config,
        store: Store,
        clock: Clock,
        chance: Chance,
        channels: Mapping[str, Channel],
        workspaces: dict[str, str],
        closing: AsyncExitStack,
        session: aiohttp.ClientSession,
        reports: Reports,
        line: LineChannel | None = None,
    ) -> None:
        self.config = config
        self.settings = config.settings
        self.shop = config.shop
        self.library = config.library
        self.store = store
        self.clock = clock
        self.chance = chance
        self.workspaces = workspaces
        self.channels = channels
        self.stopping = False
        self.slack: SlackApp | None = None
        self.slack_channel: SlackChannel | None = None
        self.line_channel = line
        self.access: Access | None = None
        self.case_desk: CaseDesk | None = None
        self.command_desk: CommandDesk | None = None
        self.bulk_desk: BulkDesk | None = None
        self.line_secrets = [secret.get_secret_value() for secret in config.settings.line_channel_secrets]
        self.event_secrets = [secret.get_secret_value() for secret in config.settings.events_secrets]
        self._closing = closing
        self._running: asyncio.Task[None] | None = None
        self.home: HomeDesk | None = None
        self.audience: Audience | None = None
        self.line_budget = LineBudget(line)
        promises = self.promises = Promises(config.shop)
        owner = chance.new_id(clock.now_ms())
        settings = config.settings
        self.report_links = ReportLinks(settings.public_url, settings.secret_key.get_secret_value())
        self.digests = Digests(
            config=config,
            store=store,
            clock=clock,
            links=self.report_links,
            budget=self.line_budget.fetch,
            reports=reports,
        )
        self.units = Units(store, clock, chance, owner, queued=lambda outbox: self.worker.take(outbox))
        voice = self.voice = Voice(library=config.library, shop=config.shop, channels=channels)
        self.conversation = Conversation(
            store=store,
            shop=config.shop,
            promises=promises,
            voice=voice,
            clock=clock,
            chance=chance,
            owner=owner,
            on_queued=self.units.queued,
            relay=config.settings.line_relay_url is not None,
        )
        self.invitations = Invitations(
            conversation=self.conversation,
            voice=voice,
            library=config.library,
            shop=config.shop,
            promises=promises,
            channels=set(channels),
        )
        self.cards = Cards(
            voice=voice,
            cases=self.conversation.cases,
            shop=config.shop,
            clock=clock,
            units=self.units,
            may_show_words=self._may_read_words,
        )
        self.trust = TrustWatch(
            shop=config.shop,
            store=store,
            cases=self.conversation.cases,
            units=self.units,
        )
        self.events = EventIntake(
            invitations=self.invitations,
            units=self.units,
            workspaces=workspaces,
            match_key=settings.secret_key.get_secret_value().encode(),
            rewarded=config.shop.rewards_referrals,
        )
        self.retention = Retention(shop=config.shop, store=store, units=self.units)
        self.glance = Glance(
            store=store,
            clock=clock,
            library=config.library,
            budget=self.line_budget,
            paused=lambda: self.worker.paused(),
        )
        relay = Relay(
            url=config.settings.line_relay_url or "",
            secrets=self.line_secrets,
            destination=workspaces.get("line", ""),
            session=session,
            store=store,
            clock=clock,
        )
        self.worker = Worker(
            store=store,
            clock=clock,
            chance=chance,
            channels=channels,
            units={
                "invite": self.invitations.due,
                "remind": self.invitations.remind,
                "every": self.invitations.run_every,
                "inbound": self.conversation.replay,
                "event": self.events.again,
                "case": self.conversation.cases.due,
                "wake": self._wake,
                "expire": self._expire,
                "retain": self.retention.retain,
            },
            tasks={
                "alert": self.cards.due,
                "staff": self._staff,
                "command": self._command,
                "bulk": self._bulk,
                "digest": self._digest,
                "voices": self._voices,
                "relay": relay.pass_on,
                "compact": self.retention.compact,
                "tidy": self.retention.tidy,
                "trust": self.trust.due,
            },
            on_sent=self._sent,
            on_overtaken=self._overtaken,
            on_given_up=self._given_up,
            owner=owner,
            pacer=Pacer(),
            opens_ms=lambda now_ms: next_open_ms(config.shop.contact, now_ms, config.shop.tz),
        )

    # ------------------------------------------------------------------------------------------------- coming in

    async def take_in(self, inbound: Inbound) -> bool:
        """One event of a platform; see Conversation.handle. A message that our own code cannot digest is kept as a dead
        job with its reason: it stops nobody else."""
        if isinstance(inbound.content, Ignored):
            measures.ignored.labels(inbound.channel, inbound.content.kind[:40]).inc()
        fresh = await self.conversation.handle(inbound)
        self._home_may_differ()
        if not fresh:
            measures.repeated.labels(inbound.channel).inc()
        return fresh

    # ------------------------------------------------------------------------------------------------- jobs

    def _wake(self, tx: Tx, job: Job, outbox: Outbox) -> None:
        session = tx.find_session(job.session_id)
        tx.finish_job(job, state="done", at_ms=outbox.now_ms)
        if session is not None and session.state:
            payload = msgspec.json.decode(job.payload, type=WakePayload)
            self.conversation.elapsed(tx, session, payload.timer, outbox, reply_to=payload.reply)

    def _expire(self, tx: Tx, job: Job, outbox: Outbox) -> None:
        session = tx.find_session(job.session_id)
        tx.finish_job(job, state="done", at_ms=outbox.now_ms)
        if session is not None and session.status == "open":
            self.conversation.elapsed(tx, session, "expire", outbox, reply_to=NO_REPLY)

    async def _may_read_words(self, channel: str) -> bool:
        return self.audience is not None and await self.audience.may_read_words(channel)

    async def _digest(self, job: Job) -> None:
        outbox = self.worker.outbox()
        await self.digests.run(job, outbox)
        self.worker.take(outbox)

    async def _voices(self, job: Job) -> None:
        if self.slack_channel is None:
            raise RuntimeError("Slack is off: set its tokens, then replay")
        await self.digests.speak(job, slack=self.slack_channel, may_show_words=self._may_read_words)

    def _sent(self, tx: Tx, job: Job, ref: str, outbox: Outbox) -> None:
        """What follows when a message was accepted."""
        self._home_may_differ()
        kind, _, rest = job.key.partition(":")
        if kind == "digest-post":
            self.digests.posted(tx, rest, ref, outbox)
        elif kind == "card":
            self.cards.posted(tx, rest, ref, outbox)
        elif kind == "note":
            tx.set_case_event_ref(rest, ref)
        elif kind == "bulk" and self.bulk_desk is not None:
            self.bulk_desk.posted(tx, rest, ref)
        elif kind == "reply":
            self.conversation.cases.reply_ended(tx, rest, outbox, accepted=True)

    def _overtaken(self, tx: Tx, job: Job, ref: str, outbox: Outbox) -> None:
        """What follows when a message arrived although it had been cancelled on its way."""
        if job.key.startswith(("card:", "note:")):
            self.cards.overtaken(tx, ref, outbox)

    def _given_up(self, tx: Tx, job: Job, outbox: Outbox) -> None:
        """What follows when a message was given up."""
        kind, _, rest = job.key.partition(":")
        if kind == "reply":
            self.conversation.cases.reply_ended(tx, rest, outbox, accepted=False)

    async def _staff(self, job: Job) -> None:
        """A "staff" job: somebody pressed a button of a case."""
        if self.case_desk is None:
            raise RuntimeError("Slack is off: set its tokens, then replay")
        await self.case_desk.run(job)

    async def _bulk(self, job: Job) -> None:
        """A "bulk" job: a step of a survey to a list."""
        if self.bulk_desk is None:
            raise RuntimeError("Slack is off: set its tokens, then replay")
        await self.bulk_desk.run(job)

    async def _command(self, job: Job) -> None:
        """A "command" job: somebody typed a command that changes something."""
        if self.command_desk is None:
            raise RuntimeError("Slack is off: set its tokens, then replay")
        await self.command_desk.run(job)
        self._home_may_differ()

    # ------------------------------------------------------------------------------------------------- life

    async def start(self, *, schedule: bool = True) -> None:
        """Release what a dead process held, queue what recurs, and start the worker (and Socket Mode when set).

        `schedule=False` leaves the recurring jobs to a later `schedule()`.
        """
        await self.store.write(lambda tx: tx.release_leases(self.clock.now_ms()))
        if schedule:
            await self.schedule()
        self._running = asyncio.create_task(self.worker.run(), name="worker")
        app_token = self.settings.slack_app_token.get_secret_value()
        if self.slack is not None and app_token and not await self.slack.socket.start(app_token):
            log.warning("slack_socket_not_connected", hint="it goes on trying; check SLACK_APP_TOKEN if this stays")

    async def schedule(self) -> None:
        """See to it that digests, `every` rules, the nightly clearing and the look at balances have their next job."""

        def unit(tx: Tx, outbox: Outbox) -> None:
            self.digests.schedule(tx, outbox)
            self.invitations.schedule_every(tx, outbox)
            self.trust.schedule(tx, outbox)
            self.retention.schedule(tx, outbox)

        await self.units.write(unit)

    async def stop(self) -> None:
        """Not ready first, then no new work, then everything closed in reverse order; within 10 s."""
        self.stopping = True
        if self.slack is not None:
            await self.slack.stop()
        await self.worker.stop()
        if self._running is not None:
            await asyncio.wait({self._running}, timeout=1)
            self._running.cancel()
        await self._closing.aclose()

    async def measure(self) -> None:
        """Refresh the figures that are read from the store."""
        counts = await self.store.read(lambda tx: tx.job_counts())
        due_ms = await self.store.read(lambda tx: tx.next_due_ms(self.clock.now_ms()))
        measures.jobs.clear()
        for (kind, state), count in counts.items():
            measures.jobs.labels(kind, state).set(count)
        age_ms = 0 if due_ms is None else max(0, self.clock.now_ms() - due_ms)
        measures.oldest_due_seconds.set(age_ms / 1000)

    # ------------------------------------------------------------------------------------------------- staff

    def _home_may_differ(self) -> None:
        self.glance.changed()
        if self.home is not None:
            self.home.changed()

    async def report_page(self, digest_id: str, period: str) -> ReportPage | None:
        """The page that was stored with a digest; None without one."""
        stored = await self.store.read(lambda tx: tx.find_digest(digest_id, period))
        return None if stored is None else read_page(stored)

    async def preview_digest(self, wish: str = "") -> list[JsonObject] | None:
        """The blocks of a digest for one person to look at; see Digests.shown."""
        return await self.digests.shown(wish, self.clock.now_ms())

    async def note_refused(self, user_id: str, team_id: str, way: str, reason: str) -> None:
        """An audit row for what somebody tried and may not do."""
        now_ms = self.clock.now_ms()
        entry = AuditEntry(
            id=self.chance.new_id(now_ms),
            at_ms=now_ms,
            actor=f"slack:{team_id}:{user_id}",
            action="refused",
            subject="",
            detail=f"{way}: {reason}",
        )
        await self.store.write(lambda tx: tx.audit(entry))

    def survey_ports(self) -> SurveyPorts:
        """What `/survey` needs of the rest."""

        def flows(lang: str) -> list[FlowOption]:
            return [FlowOption(flow.id, flow.name_in(lang)) for flow in self.library.flows.values()]

        async def start(request: SurveyRequest) -> object:
            return await self.units.write(lambda tx, outbox: self.invitations.start_by_staff(tx, request, outbox))

        return SurveyPorts(
            flows=flows,
            channels=[name for name in CHANNELS if name in self.channels],
            find=lambda words: self.store.read(lambda tx: self.invitations.find(tx, words)),
            recognise=lambda words: self.store.read(lambda tx: self.invitations.recognise(tx, words)),
            eligibility=lambda request: self.store.read(
                lambda tx: self.invitations.eligibility(tx, request, self.clock.now_ms())
            ),
            overridable=overridable,
            budget=lambda: self.line_budget.fetch(self.clock.now_ms()),
            budget_known=self.line_budget.known,
            start=start,  # type: ignore[arg-type]
        )


async def build(config: Config, *, clock: Clock, chance: Chance, reports: Reports = in_a_process) -> Koe:
    """A Koe that is ready to start: store open, platforms known. `reports` is where digests are computed.

    Raises:
        CannotStart: a platform refuses its token, or cannot be asked who we are and never could; an experiment is not
            as it was registered.
        StoreError: the database cannot be opened, is newer than this code, or belongs to a running server.
    """
    import aiohttp

    settings = config.settings
    async with AsyncExitStack() as closing:
        store = await open_store(settings.database_url, now_ms=clock.now_ms(), server=True)
        closing.push_async_callback(store.close)
        now_ms = clock.now_ms()
        wrong = await store.write(lambda tx: experiments.register(tx, config.shop, now_ms))
        if wrong:
            raise CannotStart("\n".join(wrong))
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=200),
            timeout=aiohttp.ClientTimeout(total=10),
            trust_env=False,
        )
        closing.push_async_callback(session.close)
        channels: dict[str, Channel] = {}
        workspaces: dict[str, str] = {}
        slack_channel: SlackChannel | None = None
        line: LineChannel | None = None
        if settings.line_on:
            line = line_channel(settings)
            closing.push_async_callback(line.close)
            workspaces["line"] = await _known_as(store, "line", partial(_line_account, line))
            channels["line"] = line
        if settings.slack_on:
            team = slack_channel = slack_channel_of(config)
            closing.push_async_callback(slack_channel.close)

            async def identify() -> str:
                return (await team.identify()).team_id

            workspaces["slack"] = await _known_as(store, "slack", identify)
            channels["slack"] = slack_channel
        kept = AsyncExitStack()
        koe = Koe(
            config=config,
            store=store,
            clock=clock,
            chance=chance,
            channels=channels,
            workspaces=workspaces,
            session=session,
            closing=kept,
            reports=reports,
            line=line,
        )
        if slack_channel is not None:
            koe.slack_channel = slack_channel
            koe.slack = _slack_app(koe, slack_channel)
        # only now: what fails before this line closes all that was opened (the store's threads outlive a crash)
        kept.push_async_callback(closing.pop_all().aclose)
        return koe


def line_channel(settings: Settings) -> LineChannel:
    """LINE as the settings say."""
    from bot.line import LineChannel

    return LineChannel(
        access_token=settings.line_channel_access_token.get_secret_value(), base_url=settings.line_api_base_url
    )


def slack_channel_of(config: Config) -> SlackChannel:
    """Slack as the settings say."""
    from bot.slack.channel import SlackChannel

    return SlackChannel(
        config.settings.slack_bot_token.get_secret_value(),
        deck=config.library.deck,
        base_url=config.settings.slack_api_base_url,
    )


async def _line_account(line: LineChannel) -> str:
    return (await line.fetch_bot_info()).user_id


async def _known_as(store: Store, channel: str, ask: Callable[[], Awaitable[str]]) -> str:
    """Our own id on a platform: asked at each start, remembered for starts during an outage."""
    known = await store.read(lambda tx: tx.get_meta(f"workspace.{channel}"))
    for attempt in range(1, _IDENTITY_TRIES + 1):
        try:
            answered = await ask()
        except Exception as error:
            log.warning("platform_unreachable", channel=channel, attempt=attempt, error=str(error))
            if known is not None and attempt == _IDENTITY_TRIES:
                return known
            if attempt == _IDENTITY_TRIES:
                raise CannotStart(
                    f"{channel}: cannot learn which account this is ({error}). "
                    "Check the token and the network, then start again."
                ) from error
            await asyncio.sleep(0.3 * attempt)
            continue
        if known is not None and known != answered:
            raise CannotStart(
                f"{channel}: the token belongs to {answered}, but this database belongs to {known}. Use the token of "
                "that account, or another database: customers' addresses are valid for one account only."
            )
        if known is None:
            await store.write(partial(Tx.set_meta, key=f"workspace.{channel}", value=answered))
        return answered
    raise AssertionError("unreachable")


def _slack_app(koe: Koe, channel: SlackChannel) -> SlackApp:
    from bot.slack.app import SlackApp
    from bot.slack.channel import SlackError
    from bot.staff.access import Access
    from bot.staff.audience import Audience
    from bot.staff.bulk import BulkDesk
    from bot.staff.cases import CaseDesk
    from bot.staff.commands import CommandDesk
    from bot.staff.people import People
    from bot.staff.survey import SurveyDesk
    from bot.staff.telling import Teller

    secrets = [secret.get_secret_value() for secret in koe.settings.slack_signing_secrets]
    people = People(
        channel.call,
        team_id=lambda: koe.workspaces.get("slack", ""),
        default_lang=koe.shop.language,
        failure=SlackError,
        now_ms=koe.clock.now_ms,
    )
    teller = Teller(
        channel.call,
        channel.respond,
        failure=SlackError,
        units=koe.units,
    )
    koe.access = Access(people, koe.shop.staff, note_refused=koe.note_refused)
    koe.audience = Audience(channel, koe.access, koe.shop.staff)
    desk = SurveyDesk(
        channel.call,
        failure=SlackError,
        access=koe.access,
        ports=koe.survey_ports(),
        tz=koe.shop.tz,
        now_ms=koe.clock.now_ms,
    )

    koe.home = HomeDesk(
        channel.call,
        access=koe.access,
        facts=koe.glance.facts,
        preview=koe.preview_digest,
        tz=koe.shop.tz,
        failure=SlackError,
    )
    ports = koe.survey_ports()
    koe.bulk_desk = BulkDesk(
        channel.call,
        download=channel.download,
        teller=teller,
        access=koe.access,
        invitations=koe.invitations,
        contact=koe.shop.contact,
        budget=ports.budget,
        flows=ports.flows,
        channels=ports.channels,
        store=koe.store,
        clock=koe.clock,
        tz=koe.shop.tz,
        units=koe.units,
    )
    koe.command_desk = CommandDesk(
        channel.respond,
        failure=SlackError,
        teller=teller,
        access=koe.access,
        survey=desk,
        bulk=koe.bulk_desk,
        facts=koe.glance.facts,
        find=koe.invitations.find,
        channels=tuple(koe.channels),
        budget=lambda: koe.line_budget.fetch(koe.clock.now_ms()),
        digests=koe.digests,
        config=koe.config,
        store=koe.store,
        clock=koe.clock,
        units=koe.units,
    )
    if koe.shop.alerts is not None:
        koe.case_desk = CaseDesk(
            channel.call,
            access=koe.access,
            teller=teller,
            in_full=koe.cards.in_full,
            cases=koe.conversation.cases,
            promises=koe.promises,
            voice=koe.voice,
            shop=koe.shop,
            store=koe.store,
            clock=koe.clock,
            units=koe.units,
        )

    async def note(inbound: SlackInbound) -> bool:
        return await koe.store.write(lambda tx: tx.note_inbound("slack", inbound.workspace, inbound.key, inbound.at_ms))

    return SlackApp(
        channel,
        converse=koe.take_in,
        store=note,
        desk=desk,
        commands=koe.command_desk,
        bulk=koe.bulk_desk,
        cases=koe.case_desk,
        people=people,
        teller=teller,
        access=koe.access,
        home_desk=koe.home,
        verify=lambda headers, body: signatures.verify_slack(headers, body, secrets, time.time()),
        now_ms=koe.clock.now_ms,
    )
