"""The shell around `flows.engine.step`: one transaction from an inbound event to queued jobs.

Nothing is sent from here. What the engine puts out becomes rows; the worker sends rows. This is the only place where
conversations meet storage.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import structlog
from msgspec import structs

from bot import measures
from bot.cases import Cases
from bot.channel import Blocked, Followed, Ignored, Inbound, Turn
from bot.clock import Chance, Clock
from bot.outbox import Outbox
from bot.quotes import CONSENT, Quotes
from bot.referrals import Referrals
from bot.rights import Rights, person_of
from bot.voice import NO_REPLY, ReplyTo, Voice, address_of
from flows.cases import NODE
from flows.engine import asked, new_state, step
from flows.exchange import (
    Ask,
    Begin,
    CaseSettled,
    Defer,
    Elapsed,
    End,
    EraseAnswers,
    Input,
    Media,
    NotOurs,
    OpenCase,
    Record,
    Reply,
    Retract,
    Say,
    Stop,
    Tap,
    Typed,
    Unsent,
    Wake,
)
from flows.flow import WAVE_MS, Flow
from flows.state import State
from storage.errors import Conflict, StoreError
from storage.failpoints import hit
from storage.records import Answer, Invitation, Job, Session
from storage.store import Store, Tx

if TYPE_CHECKING:
    from bot.config import Shop
    from bot.promises import Promises

log = structlog.get_logger(__name__)

_DAY_MS = 86_400_000
_TO_THE_CUSTOMER = ("send", "wake", "remind", "expire")
BY_CUSTOMER = "customer"
"""`requested_by` of an invitation that the customer put off."""
_AFTERWORDS_MS = 3 * _DAY_MS
"""How long after its end a conversation still understands an answer in words; its buttons work for good."""
_REMEMBERED = 4_096
"""Open sessions kept in memory, latest first to stay: some 10 MB."""
_RACES = 5
"""How often a unit is repeated when another process moved the same session first."""


class WakePayload(msgspec.Struct, frozen=True):
    """Body of a "wake" job."""

    timer: str
    reply: ReplyTo = NO_REPLY


class Indigestible(Exception):
    """Our own code failed on an event; the message is the reason, `where` the line of code without the words."""

    def __init__(self, bug: Exception) -> None:
        frame = traceback.extract_tb(bug.__traceback__)[-1]
        self.where = f"{type(bug).__name__} at {frame.name}:{frame.lineno}"
        super().__init__(f"{self.where}: {bug}")


class Conversation:
    """Moves sessions. Built once; every method that takes a `Tx` runs inside a unit of work."""

    def __init__(
        self,
        *,
        store: Store,
        shop: Shop,
        promises: Promises,
        voice: Voice,
        clock: Clock,
        chance: Chance,
        owner: str,
        on_queued: Callable[[Outbox], None],
        relay: bool = False,
    ) -> None:
        self._store = store
        self._promises = promises
        self._voice = voice
        self._clock = clock
        self._chance = chance
        self._owner = owner
        self._on_queued = on_queued
        self._relay = relay
        self._tz: tzinfo = shop.tz
        self._week = (-1, "")
        self._recent: dict[str, tuple[Session, State]] = {}
        self.cases = Cases(shop=shop, promises=promises, voice=voice, relay=relay)
        self._quotes = Quotes(voice=voice, shop=shop)
        self._referrals = Referrals(voice=voice, rule=shop.referral)
        self._rights = Rights(voice=voice, cases=self.cases, stop=self.stop, shop=shop, promises=promises)

    # ------------------------------------------------------------------------------------------------- inbound

    async def handle(self, inbound: Inbound) -> bool:
        """Take in one event: noted, answered, moved and queued in one durable transaction, or not at all.

        Returns False for an event that was seen before (nothing happens). Raises storage errors when the store cannot
        take it; the platform must then not be told that it was stored. An event that our own code cannot digest is
        kept as a dead job with its reason, so that one poisoned message stops nobody.
        """
        now_ms = self._clock.now_ms()
        hit("conversation.received")
        take_in = partial(self._take_in, inbound=inbound, now_ms=now_ms)
        for _ in range(_RACES):
            try:
                outbox = await self._store.write(take_in, repeatable=True)
            except Conflict:
                continue
            except Indigestible as bug:
                # where, not what: an error's own words may quote the customer's
                log.error("inbound_not_digested", channel=inbound.channel, id=inbound.event_id, where=bug.where)
                measures.dead_jobs.labels("inbound").inc()
                keep = partial(self._keep, inbound=inbound, outbox=self.outbox(now_ms), reason=str(bug))
                return await self._store.write(keep)
            hit("conversation.stored")
            if outbox is None:
                return False
            self._remember(outbox)
            self._on_queued(outbox)
            return True
        raise Conflict(f"session of {inbound.channel} event {inbound.event_id} kept moving; ask the platform to repeat")

    def _remember(self, outbox: Outbox) -> None:
        """Keep what was just made durable: the next tap of this customer needs not read and parse it again."""
        for session, state in outbox.moved:
            self._recent[session.id] = (session, state)
            if len(self._recent) > _REMEMBERED:
                del self._recent[next(iter(self._recent))]

    def outbox(self, now_ms: int) -> Outbox:
        return Outbox(owner=self._owner, now_ms=now_ms, chance=self._chance)

    def _take_in(self, tx: Tx, *, inbound: Inbound, now_ms: int) -> Outbox | None:
        """What it queued; None for an event that was seen before. A unit that may be repeated: what it leaves outside
        the transaction is its outbox, a session less in the memory, and a count of answers that errs on the safe
        side."""
        if not tx.note_inbound(inbound.channel, inbound.workspace, inbound.event_id, now_ms):
            return None
        outbox = self.outbox(now_ms)
        try:
            self._act_on(tx, inbound, outbox)
        except StoreError:
            raise
        except Exception as bug:
            raise Indigestible(bug) from bug
        return outbox

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
        if any(own.take_in(tx, inbound, outbox) for own in (self._rights, self._referrals, self._quotes)):
            return
        if isinstance(inbound.content, Tap) and inbound.content.node == NODE:
            if not self.cases.followed_up(tx, inbound, outbox):
                self._nothing_open(tx, inbound, outbox)
            return
        if isinstance(inbound.content, Unsent):
            address = tx.find_address(inbound.channel, inbound.workspace, inbound.external_id)
            person = "" if address is None else address.customer_id
            self.cases.unsent(tx, person, inbound.content, inbound.message_id, outbox)
        # Whoever takes it out of the memory is the only one to rely on it. Whether it still stands is seen when the
        # session is saved, by its version.
        session, state = self._recent.pop(inbound.session_id, (None, None))
        if session is None or not _is_at(session, inbound):
            session, state = self._session_of(tx, inbound), None
        if session is None:
            self._nothing_open(tx, inbound, outbox)
            return
        reply = Reply(
            at_ms=inbound.at_ms,
            content=inbound.content,
            dates=self._promises.dates(outbox.now_ms, session.lang),
            message_id=inbound.message_id,
        )
        if session.status == "open" and self._is_for_staff(tx, session, reply):
            self._nothing_open(tx, inbound, outbox)
            return
        ended = session.status != "open" and not inbound.session_id and not isinstance(inbound.content, Unsent)
        if ended and not self._concerns(tx, session, reply):
            self._nothing_open(tx, inbound, outbox)
            return
        self.move(
            tx,
            session,
            reply,
            outbox,
            reply_to=ReplyTo(token=inbound.reply_token, at_ms=inbound.at_ms),
            silent=inbound.standby,
            not_ours=partial(self._nothing_open, tx, inbound, outbox),
            state=state,
        )

    def _concerns(self, tx: Tx, session: Session, reply: Reply) -> bool:
        """Whether a session that has ended makes anything of these words: a typed 「連絡を希望する」, photos that we
        asked for, an answer that is merely late. Everything else belongs to the shop."""
        return bool(step(self._voice.flow(tx, session), State.parse(session.state), reply).outputs)

    def _is_for_staff(self, tx: Tx, session: Session, reply: Reply) -> bool:
        """Whether words typed while a survey is open answer a member of staff who wrote in between, rather than the
        survey. A clear answer to a question with choices stays one."""
        case = tx.open_case(session.customer_id) if isinstance(reply.content, Typed | Media) else None
        if case is None or case.replied_ms is None:
            return False
        flow, state = self._voice.flow(tx, session), State.parse(session.state)
        question = flow.find(state.at) if state.at else None
        if question is None or question.kind == "text":
            return True
        return not any(isinstance(output, Record) for output in step(flow, state, reply).outputs)

    def _session_of(self, tx: Tx, inbound: Inbound) -> Session | None:
        if inbound.session_id:
            session = tx.find_session(inbound.session_id)
            # a button names its session; it must be this person's own
            if session is None or not _is_at(session, inbound):
                return None
            return session if session.state else None
        session = tx.current_session(inbound.channel, inbound.workspace, inbound.external_id)
        if session is None and isinstance(inbound.content, Unsent):
            # the words may belong to a session that has ended
            return tx.session_of_message(
                inbound.channel, inbound.workspace, inbound.external_id, inbound.content.message_id
            )
        if session is None:
            return self._just_ended(tx, inbound)
        return session

    def _just_ended(self, tx: Tx, inbound: Inbound) -> Session | None:
        """The latest session of this person, while its last question may still be answered in words."""
        address = tx.find_address(inbound.channel, inbound.workspace, inbound.external_id)
        if address is None or not address.customer_id:
            return None
        latest = next(iter(tx.sessions_of(address.customer_id, limit=1)), None)
        if latest is None or not _is_at(latest, inbound):
            return None
        recent = latest.ended_ms is not None and inbound.at_ms - latest.ended_ms < _AFTERWORDS_MS
        return latest if recent and latest.state else None

    def _nothing_open(self, tx: Tx, inbound: Inbound, outbox: Outbox) -> None:
        """What has nothing to do with a survey: a button has closed, words go to the shop's own tools."""
        if isinstance(inbound.content, Tap):
            lang = self._voice.language_of(tx, inbound)
            closed = self._voice.text("closed.button", lang, {"here": self._voice.here(inbound.channel, lang)})
            self._voice.answer(tx, inbound, outbox, Say(closed))
            return
        address = tx.find_address(inbound.channel, inbound.workspace, inbound.external_id)
        if address is None:
            tx.put_address(address_of(inbound, outbox.now_ms))
        # somebody who is being looked after is heard by the people who do, and by the shop's tools as ever
        self.cases.heard(tx, inbound, outbox)
        if self._relay and inbound.raw:
            # whatever is not ours belongs to the shop's own tools
            outbox.queue(
                tx,
                "relay",
                inbound.raw.decode("utf-8", "replace"),
                # whose words these are: erasing finds them
                customer_id=person_of(inbound, "" if address is None else address.customer_id),
                expires_ms=outbox.now_ms + 50_000,
            )

    def _followed(self, tx: Tx, inbound: Inbound, outbox: Outbox) -> None:
        tx.put_address(address_of(inbound, outbox.now_ms))
        tx.set_blocked(inbound.channel, inbound.workspace, inbound.external_id, None)
        self._tell_of_block(tx, inbound, outbox)

    def _blocked(self, tx: Tx, inbound: Inbound, outbox: Outbox) -> None:
        tx.put_address(address_of(inbound, outbox.now_ms))
        tx.set_blocked(inbound.channel, inbound.workspace, inbound.external_id, inbound.at_ms)
        self._tell_of_block(tx, inbound, outbox)
        while (session := tx.current_session(inbound.channel, inbound.workspace, inbound.external_id)) is not None:
            self.stop(tx, session, "blocked", outbox)

    def _tell_of_block(self, tx: Tx, inbound: Inbound, outbox: Outbox) -> None:
        address = tx.find_address(inbound.channel, inbound.workspace, inbound.external_id)
        if address is not None:
            self.cases.blocked(tx, address.customer_id, outbox)

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
        part: int = 1,
    ) -> Session:
        """Start a session (its row is written here) with the invitation that carries the first question; `part` is
        which one of its wave.

        `last_offer` leaves out 「あとで答える」: an invitation that was put off once is not put off again.

        A survey that is still open at this address ends: words are understood as an answer to one question, not to one
        of two. What was answered there stays, and a tap there is still taken, as a late answer.
        """
        while (open_one := tx.current_session(session.channel, session.workspace, session.external_id)) is not None:
            self.stop(tx, open_one, "superseded", outbox)
        flow = self._voice.flow(tx, session)
        state = new_state(flow, lang=session.lang, vars=variables, facts=facts, part=part)
        tx.put_revision(flow.id, flow.revision, flow.definition(), outbox.now_ms)
        session = structs.replace(session, state=state.dump(), version=0)
        tx.new_session(session)
        begin = Begin(
            at_ms=outbox.now_ms,
            local_date=datetime.fromtimestamp(outbox.now_ms / 1000, self._tz).date(),
            first_contact=first_contact,
            sample=self._chance.draw(),
        )
        return self.move(tx, session, begin, outbox, last_offer=last_offer)

    def elapsed(self, tx: Tx, session: Session, timer: str, outbox: Outbox, *, reply_to: ReplyTo = NO_REPLY) -> Session:
        """A timer ran out: "text", "remind", "expire"."""
        event = Elapsed(at_ms=outbox.now_ms, timer=timer, dates=self._promises.dates(outbox.now_ms, session.lang))
        return self.move(tx, session, event, outbox, reply_to=reply_to)

    def stop(self, tx: Tx, session: Session, reason: str, outbox: Outbox) -> Session:
        """End a session from outside; nothing is said. See flows.exchange.Stop for the reasons."""
        # what waits to be shown to staff stays: somebody unhappy who stops surveys is still unhappy
        tx.cancel_jobs(outbox.now_ms, session_id=session.id, kinds=_TO_THE_CUSTOMER)
        return self.move(tx, session, Stop(at_ms=outbox.now_ms, reason=reason), outbox, silent=True)  # type: ignore[arg-type]

    def move(
        self,
        tx: Tx,
        session: Session,
        event: Input,
        outbox: Outbox,
        *,
        reply_to: ReplyTo = NO_REPLY,
        silent: bool = False,
        last_offer: bool = False,
        not_ours: Callable[[], None] | None = None,
        state: State | None = None,
    ) -> Session:
        """One step of a session, with all that follows from it; `not_ours` is called when the reply turns out to
        belong to the shop. `state` is the session's, where the caller has it already. Raises Conflict when somebody
        else moved it first."""
        flow = self._voice.flow(tx, session)
        if isinstance(event, Reply) and isinstance(event.content, Unsent):
            # the words go from the history and from a case as well; what remains is recorded again below
            tx.forget_words(session.id, event.content.message_id, event.at_ms)
            self.cases.forget_words(tx, session, outbox)
        result = step(flow, State.parse(session.state) if state is None else state, event)
        started_ms, status, ended_ms = session.started_ms, session.status, session.ended_ms
        bubbles: list[Say | Ask] = []
        recorded: list[Record] = []
        erased = False
        for output in result.outputs:
            match output:
                case Ask():
                    bubbles.append(_without_later(output) if last_offer and output.invitation else output)
                case Say():
                    bubbles.append(output)
                case Record():
                    recorded.append(output)
                    self._record(tx, session, flow, output, event.at_ms, outbox)
                    if started_ms is None and not output.missing:
                        started_ms = event.at_ms
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
                    erased = True
                case NotOurs():
                    if not_ours is not None:
                        not_ours()
                case End():
                    status, ended_ms = output.outcome, outbox.now_ms
                    # by their keys: the session's other jobs, with all their messages, need not be looked through
                    for timer in ("remind", "expire"):
                        tx.cancel_jobs(outbox.now_ms, key=f"{timer}:{session.id}")
        if recorded and result.state.case:
            self.cases.answered(tx, session, outbox)
        moved = session.moved(state=result.state.dump(), started_ms=started_ms, status=status, ended_ms=ended_ms)
        if not tx.save_session(moved):
            raise Conflict(f"session {session.id} moved meanwhile")
        if status == "open" and not erased:
            outbox.moved.append((moved, result.state))
        if status == "completed" and session.status == "open":
            another = self._next_part(tx, moved, flow, outbox)
            # at most two bubbles a turn; who is told more than a goodbye is asked another time
            wanted = not (another or silent or len(bubbles) > 1)
            offer = (self._quotes.offer(tx, moved) or self._referrals.offer(tx, moved, outbox)) if wanted else None
            if offer is not None:
                bubbles.append(offer)
        if erased:
            # after the session was saved, because it moves on once more; before the goodbye is queued, which stays
            tx.erase_answers(session.customer_id, outbox.now_ms, session_id=session.id)
            self.cases.erased(tx, [session], outbox)
            self._rights.empty_the_log(tx, outbox)
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
                unasked = isinstance(event, Begin) or (isinstance(event, Elapsed) and event.timer == "remind")
                self._voice.speak(tx, turn, session, outbox, reply_to=reply_to, unasked=unasked)
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
                quote_ok=not question.numeric and tx.consent(session.customer_id, CONSENT) is True,
                wave_id=session.wave_id,
            )
        )

    def _wake(self, tx: Tx, session: Session, wake: Wake, reply_to: ReplyTo, outbox: Outbox) -> None:
        payload = WakePayload(timer=wake.timer, reply=reply_to)
        # an earlier job of the same timer finds that its time has moved and does nothing
        outbox.queue(tx, "wake", payload, due_ms=wake.at_ms, session_id=session.id, customer_id=session.customer_id)

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
        self._plan_again(tx, invitation, due_ms, outbox, requested_by=BY_CUSTOMER, part=invitation.part)

    def _next_part(self, tx: Tx, session: Session, flow: Flow, outbox: Outbox) -> bool:
        """A session of a wave came to its end: plan the one that follows, if anything was answered in this one. Whether
        one follows."""
        invitation = tx.find_invitation(session.invitation_id)
        if flow.wave is None or invitation is None or session.started_ms is None:
            return False
        follows = invitation.part < flow.parts
        if follows:
            due_ms = self._promises.morning_ms(outbox.now_ms, -(-flow.wave.gap_ms // _DAY_MS))
            # what the customer put off was one session, not the next
            by = "" if invitation.requested_by == BY_CUSTOMER else invitation.requested_by
            self._plan_again(tx, invitation, due_ms, outbox, requested_by=by, part=invitation.part + 1)
        return follows

    def _plan_again(
        self,
        tx: Tx,
        invitation: Invitation,
        due_ms: int,
        outbox: Outbox,
        *,
        requested_by: str,
        part: int,
    ) -> None:
        """Plan what continues an invitation and is one with it, open as long as the first time. A wave ends within its
        days: what would come after them is not planned."""
        # a first session that is put off begins its wave when it is there
        wave_id = invitation.wave_id if part > 1 else ""
        expires_ms = None if invitation.expires_ms is None else due_ms + invitation.expires_ms - invitation.due_ms
        if wave_id:
            first = tx.find_session(wave_id)
            if first is None or first.started_ms is None or due_ms >= first.started_ms + WAVE_MS:
                return
            ends_ms = first.started_ms + WAVE_MS
            expires_ms = ends_ms if expires_ms is None else min(expires_ms, ends_ms)
        again = replace(
            invitation,
            id=outbox.new_id(),
            channel="",
            override_reason="",
            state="planned",
            reason="",
            planned_ms=outbox.now_ms,
            due_ms=due_ms,
            expires_ms=expires_ms,
            sent_ms=None,
            session_id="",
            requested_by=requested_by,
            wave_id=wave_id,
            part=part,
        )
        self.plan(tx, again, outbox)

    def plan(self, tx: Tx, invitation: Invitation, outbox: Outbox) -> None:
        """Store a planned invitation and the job that will decide about it when it is due."""
        tx.put_invitation(invitation)
        outbox.queue(
            tx,
            "invite",
            {"invitation": invitation.id},
            due_ms=invitation.due_ms,
            key=f"invite:{invitation.id}",
            customer_id=invitation.customer_id,
        )

    def week_of(self, at_ms: int) -> str:
        """Monday of the ISO week in the shop's time zone: "2026-11-16"."""
        minute = at_ms // 60_000
        if minute != self._week[0]:
            # a week begins on the minute in every zone, so one answer serves a minute's customers
            day = datetime.fromtimestamp(at_ms / 1000, self._tz).date()
            self._week = (minute, (day - timedelta(days=day.weekday())).isoformat())
        return self._week[1]


def _is_at(session: Session, inbound: Inbound) -> bool:
    return (session.channel, session.workspace, session.external_id) == (
        inbound.channel,
        inbound.workspace,
        inbound.external_id,
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
