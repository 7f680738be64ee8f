"""The shell around `flows.engine.step`: one transaction from an inbound event to queued jobs.

Nothing is sent from here. What the engine puts out becomes rows; the worker sends rows. This is the only place where
conversations meet storage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import structlog

from bot import measures
from bot.cases import Cases
from bot.channel import Blocked, Channel, Followed, Ignored, Inbound, Turn
from bot.clock import Chance, Clock
from bot.outbox import Outbox
from bot.rights import Rights
from flows.engine import (
    Ask,
    Begin,
    CaseSettled,
    Defer,
    Elapsed,
    End,
    EraseAnswers,
    Input,
    OpenCase,
    Record,
    Reply,
    Retract,
    Say,
    State,
    Stop,
    Tap,
    Unsent,
    Wake,
    asked,
    new_state,
    step,
)
from flows.survey import Flow, Library, Wording
from storage.errors import Conflict, StoreError
from storage.failpoints import hit
from storage.records import Address, Answer, Invitation, Job, Session
from storage.store import Store, Tx

if TYPE_CHECKING:
    from bot.config import Shop
    from bot.promises import Promises

log = structlog.get_logger(__name__)

_DAY_MS = 86_400_000
_SEND_WITHIN_MS = 23 * 3_600_000
"""LINE forgets a retry key after 24 h: from then on the same call would be a second message."""
_RACES = 5
"""How often a unit is repeated when another process moved the same session first."""


class ReplyTo(msgspec.Struct, frozen=True):
    """What a later reply may still ride on: LINE's single-use token and when it was given out."""

    token: str = ""
    at_ms: int = 0


_NO_REPLY = ReplyTo()


class WakePayload(msgspec.Struct, frozen=True):
    """Body of a "wake" job."""

    timer: str
    reply: ReplyTo = _NO_REPLY


class Indigestible(Exception):
    """Our own code failed on an event; the message is the reason."""


class Conversation:
    """Moves sessions. Built once; every method that takes a `Tx` runs inside a unit of work."""

    def __init__(
        self,
        *,
        store: Store,
        library: Library,
        shop: Shop,
        promises: Promises,
        channels: Mapping[str, Channel],
        clock: Clock,
        chance: Chance,
        owner: str,
        on_queued: Callable[[Outbox], None],
        relay: bool = False,
    ) -> None:
        self._store = store
        self._library = library
        self._shop = shop
        self._promises = promises
        self._channels = channels
        self._clock = clock
        self._chance = chance
        self._owner = owner
        self._on_queued = on_queued
        self._relay = relay
        self._tz: tzinfo = shop.tz
        self._flows: dict[str, Flow] = {flow.revision: flow for flow in library.flows.values()}
        self.cases = Cases(shop=shop, promises=promises)
        self._rights = Rights(conversation=self, library=library, shop=shop, promises=promises)

    # ------------------------------------------------------------------------------------------------- inbound

    async def handle(self, inbound: Inbound) -> bool:
        """Take in one event: noted, answered, moved and queued in one durable transaction, or not at all.

        Returns False for an event that was seen before (nothing happens). Raises storage errors when the store cannot
        take it; the platform must then not be told that it was stored. An event that our own code cannot digest is
        kept as a dead job with its reason, so that one poisoned message stops nobody.
        """
        now_ms = self._clock.now_ms()
        hit("conversation.received")
        for _ in range(_RACES):
            outbox = self.outbox(now_ms)
            try:
                fresh = await self._store.write(partial(self._take_in, inbound=inbound, outbox=outbox))
            except Conflict:
                continue
            except Indigestible as bug:
                log.exception("inbound_not_digested", channel=inbound.channel, event=inbound.event_id)
                measures.dead_jobs.labels("inbound").inc()
                return await self._store.write(partial(self._keep, inbound=inbound, outbox=outbox, reason=str(bug)))
            hit("conversation.stored")
            self._on_queued(outbox)
            return fresh
        raise Conflict(f"session of {inbound.channel} event {inbound.event_id} kept moving; ask the platform to repeat")

    def outbox(self, now_ms: int) -> Outbox:
        return Outbox(owner=self._owner, now_ms=now_ms, chance=self._chance)

    def _take_in(self, tx: Tx, *, inbound: Inbound, outbox: Outbox) -> bool:
        if not tx.note_inbound(inbound.channel, inbound.workspace, inbound.event_id, outbox.now_ms):
            return False
        try:
            self._act_on(tx, inbound, outbox)
        except StoreError:
            raise
        except Exception as bug:
            raise Indigestible(f"{type(bug).__name__}: {bug}") from bug
        return True

    def _keep(self, tx: Tx, *, inbound: Inbound, outbox: Outbox, reason: str) -> bool:
        """Note an event that our own code cannot digest, as a dead job that can be replayed."""
        if not tx.note_inbound(inbound.channel, inbound.workspace, inbound.event_id, outbox.now_ms):
            return False
        address = tx.find_address(inbound.channel, inbound.workspace, inbound.external_id)
        tx.put_job(
            Job(
                id=outbox.new_id(),
                kind="inbound",
                due_ms=outbox.now_ms,
                payload=inbound.dump(),
                channel=inbound.channel,
                customer_id="" if address is None else address.customer_id,
                created_ms=outbox.now_ms,
                state="dead",
                error=reason,
            )
        )
        return True

    def replay(self, tx: Tx, job: Job, outbox: Outbox) -> None:
        """An "inbound" job that somebody replayed: act on the event now."""
        self._act_on(tx, Inbound.parse(job.payload), outbox)
        tx.finish_job(job, state="done", at_ms=outbox.now_ms)

    def _act_on(self, tx: Tx, inbound: Inbound, outbox: Outbox) -> None:
        match inbound.content:
            case Ignored():
                return
            case _ if not inbound.external_id:
                return
            case Followed():
                self._followed(tx, inbound, outbox)
                return
            case Blocked():
                self._blocked(tx, inbound, outbox)
                return
        if self._rights.take_in(tx, inbound, outbox):
            return
        session = self._session_of(tx, inbound)
        if session is None:
            self._nothing_open(tx, inbound, outbox)
            return
        reply = Reply(
            at_ms=inbound.at_ms,
            content=inbound.content,
            dates=self._promises.dates(outbox.now_ms, session.lang),
            message_id=inbound.message_id,
        )
        self.move(
            tx,
            session,
            reply,
            outbox,
            reply_to=ReplyTo(token=inbound.reply_token, at_ms=inbound.at_ms),
            silent=inbound.standby,
        )

    def _session_of(self, tx: Tx, inbound: Inbound) -> Session | None:
        if inbound.session_id:
            session = tx.find_session(inbound.session_id)
            at = (inbound.channel, inbound.workspace, inbound.external_id)
            # a button names its session; it must be this person's own
            if session is None or (session.channel, session.workspace, session.external_id) != at:
                return None
            return session if session.state else None
        session = tx.current_session(inbound.channel, inbound.workspace, inbound.external_id)
        if session is None and isinstance(inbound.content, Unsent):
            # the words may belong to a session that has ended
            return tx.session_of_message(
                inbound.channel, inbound.workspace, inbound.external_id, inbound.content.message_id
            )
        return session

    def _nothing_open(self, tx: Tx, inbound: Inbound, outbox: Outbox) -> None:
        if isinstance(inbound.content, Tap):
            lang = self.language_of(tx, inbound)
            closed = self.text("closed.button", lang, {"here": self.here(inbound.channel, lang)})
            self.say(tx, inbound, outbox, Say(closed))
            return
        address = tx.find_address(inbound.channel, inbound.workspace, inbound.external_id)
        if address is None:
            tx.put_address(self._new_address(inbound, outbox.now_ms))
        if self._relay and inbound.raw:
            # whatever is not ours belongs to the shop's own tools
            outbox.put(
                tx,
                Job(
                    id=outbox.new_id(),
                    kind="relay",
                    due_ms=outbox.now_ms,
                    payload=inbound.raw.decode("utf-8", "replace"),
                    expires_ms=outbox.now_ms + 50_000,
                    created_ms=outbox.now_ms,
                ),
            )

    def _new_address(self, inbound: Inbound, now_ms: int) -> Address:
        return Address(
            channel=inbound.channel,
            workspace=inbound.workspace,
            external_id=inbound.external_id,
            customer_id="",
            source="chat",
            certainty="",
            language="",
            created_ms=now_ms,
        )

    def _followed(self, tx: Tx, inbound: Inbound, outbox: Outbox) -> None:
        tx.put_address(self._new_address(inbound, outbox.now_ms))
        tx.set_blocked(inbound.channel, inbound.workspace, inbound.external_id, None)

    def _blocked(self, tx: Tx, inbound: Inbound, outbox: Outbox) -> None:
        tx.put_address(self._new_address(inbound, outbox.now_ms))
        tx.set_blocked(inbound.channel, inbound.workspace, inbound.external_id, inbound.at_ms)
        while (session := tx.current_session(inbound.channel, inbound.workspace, inbound.external_id)) is not None:
            self.stop(tx, session, "blocked", outbox)

    # ------------------------------------------------------------------------------------------------- moving

    def begin(
        self,
        tx: Tx,
        session: Session,
        *,
        variables: Mapping[str, str],
        facts: Mapping[str, object],
        first_contact: bool,
        outbox: Outbox,
        last_offer: bool = False,
    ) -> Session:
        """Start a session (its row is written here) with the invitation that carries the first question.

        `last_offer` leaves out 「あとで答える」: an invitation that was put off once is not put off again.
        """
        flow = self.flow(tx, session)
        state = new_state(flow, lang=session.lang, vars=variables, facts=facts)
        tx.put_revision(flow.id, flow.revision, flow.definition(), outbox.now_ms)
        tx.new_session(replace(session, state=state.dump(), version=0))
        begin = Begin(
            at_ms=outbox.now_ms,
            local_date=datetime.fromtimestamp(outbox.now_ms / 1000, self._tz).date(),
            first_contact=first_contact,
            sample=self._chance.draw(),
        )
        return self.move(tx, replace(session, state=state.dump(), version=0), begin, outbox, last_offer=last_offer)

    def elapsed(
        self, tx: Tx, session: Session, timer: str, outbox: Outbox, *, reply_to: ReplyTo = _NO_REPLY
    ) -> Session:
        """A timer ran out: "text", "remind", "expire"."""
        event = Elapsed(at_ms=outbox.now_ms, timer=timer, dates=self._promises.dates(outbox.now_ms, session.lang))
        return self.move(tx, session, event, outbox, reply_to=reply_to)

    def stop(self, tx: Tx, session: Session, reason: str, outbox: Outbox) -> Session:
        """End a session from outside; nothing is said. See flows.engine.Stop for the reasons."""
        tx.cancel_jobs(outbox.now_ms, session_id=session.id)
        return self.move(tx, session, Stop(at_ms=outbox.now_ms, reason=reason), outbox, silent=True)  # type: ignore[arg-type]

    def flow(self, tx: Tx, session: Session) -> Flow:
        """The flow as it was when this session started."""
        flow = self._flows.get(session.revision)
        if flow is None:
            definition = tx.find_revision(session.revision)
            if definition is None:
                raise LookupError(f"flow {session.flow_id} has no stored revision {session.revision}: restore a backup")
            flow = self._flows[session.revision] = self._library.flow_from(definition)
        return flow

    def move(
        self,
        tx: Tx,
        session: Session,
        event: Input,
        outbox: Outbox,
        *,
        reply_to: ReplyTo = _NO_REPLY,
        silent: bool = False,
        last_offer: bool = False,
    ) -> Session:
        """One step of a session, with all that follows from it. Raises Conflict when somebody else moved it first."""
        flow = self.flow(tx, session)
        if isinstance(event, Reply) and isinstance(event.content, Unsent):
            # the words go from the history and from a case as well; what remains is recorded again below
            tx.forget_words(session.id, event.content.message_id, event.at_ms)
            self.cases.forget_words(tx, session)
        result = step(flow, State.parse(session.state), event)
        moved = replace(session, state=result.state.dump(), version=session.version + 1)
        bubbles: list[Say | Ask] = []
        recorded: list[Record] = []
        for output in result.outputs:
            match output:
                case Ask():
                    bubbles.append(_without_later(output) if last_offer and output.invitation else output)
                case Say():
                    bubbles.append(output)
                case Record():
                    recorded.append(output)
                    self._record(tx, session, flow, output, event.at_ms, outbox)
                    if moved.started_ms is None and not output.missing:
                        moved = replace(moved, started_ms=event.at_ms)
                case Retract():
                    tx.retract_answer(session.id, output.question, event.at_ms)
                case Wake():
                    self._wake(tx, session, output, reply_to, outbox)
                case OpenCase():
                    self.cases.open(tx, session, output, outbox)
                case CaseSettled():
                    self.cases.settle(tx, session, output.reason, outbox)
                case Defer():
                    self._defer(tx, session, output, outbox)
                case EraseAnswers():
                    tx.erase_answers(session.customer_id, outbox.now_ms, session_id=session.id)
                    moved = replace(moved, state="")
                case End():
                    moved = replace(moved, status=output.outcome, ended_ms=outbox.now_ms)
                    tx.cancel_jobs(outbox.now_ms, session_id=session.id, kinds=("remind", "expire"))
        if not tx.save_session(moved):
            raise Conflict(f"session {session.id} moved meanwhile")
        if bubbles or recorded:
            # only Slack changes earlier messages; on LINE's hot path nobody needs the questions again
            again = recorded if session.channel == "slack" else ()
            shown = {record.question: asked(flow, result.state, record.question) for record in again}
            turn = Turn(
                session_id=session.id,
                lang=session.lang,
                bubbles=tuple(bubbles),
                recorded=tuple(recorded),
                shown={question: ask for question, ask in shown.items() if ask is not None},
            )
            if not silent:
                to = _address_of(session)
                self._queue(tx, turn, to, outbox, reply_to=reply_to, customer_id=session.customer_id)
        return moved

    def _record(self, tx: Tx, session: Session, flow: Flow, record: Record, at_ms: int, outbox: Outbox) -> None:
        question = flow.question(record.question)
        tx.record_answer(
            Answer(
                id=outbox.new_id(),
                session_id=session.id,
                customer_id=session.customer_id,
                question=record.question,
                instrument=question.instrument,
                wording_id=question.wording_id,
                label_set=question.label_set,
                value=_value_text(record.value),
                missing=record.missing,
                numeric=question.numeric,
                lang=session.lang,
                channel=session.channel,
                survey_kind=session.survey_kind,
                touchpoint=session.touchpoint,
                segment=session.segment,
                flow_id=session.flow_id,
                revision=session.revision,
                shown_ms=record.shown_ms,
                answered_ms=at_ms,
                week=self.week_of(at_ms),
                late=record.late,
                message_ids=";".join(record.message_ids),
            )
        )

    def _wake(self, tx: Tx, session: Session, wake: Wake, reply_to: ReplyTo, outbox: Outbox) -> None:
        payload = msgspec.json.encode(WakePayload(timer=wake.timer, reply=reply_to)).decode()
        # an earlier job of the same timer finds that its time has moved and does nothing
        outbox.put(
            tx,
            Job(
                id=outbox.new_id(),
                kind="wake",
                due_ms=wake.at_ms,
                payload=payload,
                session_id=session.id,
                customer_id=session.customer_id,
                created_ms=outbox.now_ms,
            ),
        )

    def _defer(self, tx: Tx, session: Session, defer: Defer, outbox: Outbox) -> None:
        invitation = tx.find_invitation(session.invitation_id)
        if invitation is None:
            return
        if defer.kind == "never":
            for planned in tx.open_invitations(session.customer_id):
                if planned.state == "planned" and planned.event_id == invitation.event_id:
                    tx.put_invitation(replace(planned, state="withdrawn", reason="customer"))
                    tx.cancel_jobs(outbox.now_ms, key=f"invite:{planned.id}")
            return
        due_ms = self._promises.again_ms(outbox.now_ms, defer.kind)
        again = replace(
            invitation,
            id=outbox.new_id(),
            channel="",
            state="planned",
            reason="",
            planned_ms=outbox.now_ms,
            due_ms=due_ms,
            expires_ms=None if invitation.expires_ms is None else due_ms + 7 * _DAY_MS,
            sent_ms=None,
            session_id="",
            requested_by="customer",
        )
        self.plan(tx, again, outbox)

    def plan(self, tx: Tx, invitation: Invitation, outbox: Outbox) -> None:
        """Store a planned invitation and the job that will decide about it when it is due."""
        tx.put_invitation(invitation)
        outbox.put(
            tx,
            Job(
                id=outbox.new_id(),
                kind="invite",
                due_ms=invitation.due_ms,
                payload=msgspec.json.encode({"invitation": invitation.id}).decode(),
                key=f"invite:{invitation.id}",
                customer_id=invitation.customer_id,
                created_ms=outbox.now_ms,
            ),
        )

    def _queue(self, tx: Tx, turn: Turn, to: Address, outbox: Outbox, *, reply_to: ReplyTo, customer_id: str) -> None:
        channel = self._channels.get(to.channel)
        if channel is None:
            log.warning("channel_off", channel=to.channel, session=turn.session_id)
            return
        for call in channel.render(turn, external_id=to.external_id, reply_token=reply_to.token, at_ms=reply_to.at_ms):
            outbox.put(
                tx,
                Job(
                    id=outbox.new_id(),
                    kind="send",
                    due_ms=outbox.now_ms,
                    payload=msgspec.json.encode(call.payload).decode(),
                    lane=f"{to.channel}:{to.workspace}:{to.external_id}",
                    channel=to.channel,
                    session_id=turn.session_id,
                    customer_id=customer_id,
                    asks=call.asks,
                    updates=call.updates,
                    expires_ms=outbox.now_ms + _SEND_WITHIN_MS,
                    created_ms=outbox.now_ms,
                ),
            )

    # ------------------------------------------------------------------------------------------------- words

    def say(
        self,
        tx: Tx,
        inbound: Inbound,
        outbox: Outbox,
        *bubbles: Say | Ask,
        customer_id: str = "",
        session_id: str = "",
    ) -> None:
        """Answer somebody outside a session's own steps."""
        if inbound.standby:
            return
        turn = Turn(session_id=session_id, lang=self.language_of(tx, inbound), bubbles=bubbles)
        reply_to = ReplyTo(token=inbound.reply_token, at_ms=inbound.at_ms)
        to = self._new_address(inbound, outbox.now_ms)
        self._queue(tx, turn, to, outbox, reply_to=reply_to, customer_id=customer_id)

    def text(self, key: str, lang: str, variables: Mapping[str, str]) -> str:
        return self._library.deck.text(key, lang, variables)

    def here(self, channel: str, lang: str) -> str:
        return self.text(f"here.{channel}", lang, {})

    def language_of(self, tx: Tx, inbound: Inbound) -> str:
        """The language to answer somebody in who is in no survey: their last one, else the shop's."""
        address = tx.find_address(inbound.channel, inbound.workspace, inbound.external_id)
        if address is not None:
            if address.language:
                return address.language
            customer = tx.find_customer(address.customer_id) if address.customer_id else None
            if customer is not None and customer.language:
                return customer.language
        return self._shop.language

    def question_name(self, tx: Tx, answer: Answer, lang: str) -> str:
        """What an answered question is about, in a customer's words: 「満足度」; a shop's own question in full."""
        instrument = self._library.instruments.get(answer.instrument)
        if instrument is not None:
            return instrument.name.en if lang == "en" else instrument.name.ja
        return self._wording(tx, answer, lang).text.fill({})

    def answer_label(self, tx: Tx, answer: Answer, lang: str) -> str:
        """An answer as the customer saw it: 「8点」, 「やや満足」; several joined; a comment as written."""
        if not answer.numeric:
            return answer.value
        labels = {str(code): label for code, label in self._wording(tx, answer, lang).labels.items()}
        words = [labels.get(code, code) for code in answer.value.split(";")]
        return self.text("label.joiner", lang, {}).join(words)

    def _wording(self, tx: Tx, answer: Answer, lang: str) -> Wording:
        session = tx.find_session(answer.session_id)
        if session is None:
            raise LookupError(f"answer {answer.id} belongs to no session: run koe doctor")
        return self.flow(tx, session).question(answer.question).wordings["en" if lang == "en" else "ja"]

    def week_of(self, at_ms: int) -> str:
        """Monday of the ISO week in the shop's time zone: "2026-11-16"."""
        day = datetime.fromtimestamp(at_ms / 1000, self._tz).date()
        return (day - timedelta(days=day.weekday())).isoformat()


def _address_of(session: Session) -> Address:
    return Address(
        channel=session.channel,
        workspace=session.workspace,
        external_id=session.external_id,
        customer_id=session.customer_id,
        source="",
        certainty="",
        language=session.lang,
        created_ms=session.created_ms,
    )


def _value_text(value: int | str | tuple[str, ...] | None) -> str:
    match value:
        case None:
            return ""
        case tuple():
            return ";".join(value)
        case _:
            return str(value)


def _without_later(ask: Ask) -> Ask:
    return replace(ask, small_choices=tuple(c for c in ask.small_choices if c.node != "@later"))
