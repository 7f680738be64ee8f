"""Cases: a customer who must be looked after. Opened by a conversation, shown to staff after the grace time in which
the customer may still correct a mis-tap, claimed, answered and settled by staff; at most one open case per customer.

What may be done is decided by flows.cases; here it meets what is stored, and what follows from it is queued.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import msgspec

from bot.channel import Inbound
from bot.outbox import UNASKED, Outbox
from bot.voice import NO_REPLY, ReplyTo, Voice
from flows import cases as rules
from flows.cases import NODE, Standing
from flows.exchange import Choice, Media, OpenCase, Say, Tap, Typed, Unsent
from storage.records import Address, AuditEntry, Case, CaseEvent, Job, Session
from storage.store import Tx

if TYPE_CHECKING:
    from bot.config import Shop
    from bot.promises import Promises

_WORDS = 2000
_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_CUSTOMER_TOLD_AFTER_MS = _HOUR_MS
"""Staff have this much of their working hours to make a missed promise good before the customer is told."""

Verb = Literal["claim", "reply", "hand_over", "call", "snooze", "resolve"]
Refusal = rules.Refusal | Literal["gone", "blocked", "unreachable"]


class CaseRequest(msgspec.Struct, frozen=True):
    """What a member of staff wants done with a case: the body of a "staff" job."""

    case_id: str
    verb: Verb
    user_id: str
    team_id: str = ""
    text: str = ""
    """A reply's or a note's words."""
    to: str = ""
    """Slack user id of whoever takes over."""
    until_ms: int = 0
    outcome: str = ""
    follow_up: bool = False
    """Ask the customer later whether all is well."""
    reached: bool = False
    """A call in which the customer was reached."""


class Timer(msgspec.Struct, frozen=True):
    """Body of a "case" job: a time of a case that has come."""

    case: str
    what: Literal["overdue", "still_overdue", "tell_customer", "escalate", "wake", "ask"]
    due_ms: int = 0
    """overdue, still_overdue, tell_customer: the time that was promised; another one by now makes this one stale."""
    since_ms: int = 0
    """Answers from here on count."""
    promised: bool | None = None
    """Whether the customer knows of `due_ms`; None: as the case says when the time has come."""
    step: int = 0


@dataclass(frozen=True, slots=True)
class Colleague:
    """A member of staff, as customers and colleagues read their name."""

    user_id: str
    name: str


_CUSTOMER = Colleague("customer", "")
_KOE = Colleague("koe", "")


class Cases:
    """Opens, looks after and settles cases."""

    def __init__(self, *, shop: Shop, promises: Promises, voice: Voice, relay: bool = False) -> None:
        self._shop = shop
        self._promises = promises
        self._voice = voice
        self._relay = relay

    # ------------------------------------------------------------------------------------------------- opening

    def open(self, tx: Tx, session: Session, wanted: OpenCase, outbox: Outbox) -> None:
        """A reason to look after the customer of this session."""
        self.open_for(tx, session.customer_id, session.id, wanted, outbox)

    def open_for(self, tx: Tx, customer_id: str, session_id: str, wanted: OpenCase, outbox: Outbox) -> None:
        """The customer's one open case gets this reason, or a new one opens; staff see it after the grace time."""
        due_ms = self._promises.reply_by_ms(outbox.now_ms)
        known = tx.open_case(customer_id)
        if known is None:
            case = Case(
                id=outbox.new_id(),
                customer_id=customer_id,
                session_id=session_id,
                reason=wanted.reason,
                words=wanted.words[:_WORDS],
                state="grace",
                contact="yes" if wanted.promised or wanted.reason == "contact" else "",
                opened_ms=outbox.now_ms,
                due_ms=due_ms,
            )
        else:
            words = "\n".join(part for part in (known.words, wanted.words) if part and part not in known.words)
            case = replace(
                known,
                words=(words or known.words)[:_WORDS],
                contact="yes" if wanted.promised or wanted.reason == "contact" else known.contact,
                due_ms=due_ms if known.due_ms is None else min(due_ms, known.due_ms),
            )
        tx.put_case(case)
        if known is None:
            self._note(tx, case, "opened", _CUSTOMER, outbox)
        if known is None or known.state != "grace":
            self.show(tx, case, outbox, grace=True)

    def shown(self, tx: Tx, case: Case, outbox: Outbox) -> Case:
        """The grace time is over and staff get to see it: from here on its times run."""
        case = replace(case, state="open")
        tx.put_case(case)
        self._watch(tx, case, outbox, since_ms=case.opened_ms)
        return case

    def settle(self, tx: Tx, session: Session, reason: str, outbox: Outbox) -> None:
        """The customer corrected a mis-tap, or does not want to be contacted (the case stays, without contact)."""
        case = tx.open_case(session.customer_id)
        if case is None or case.session_id != session.id:
            return
        if reason == "no_contact":
            tx.put_case(replace(case, contact="no"))
        elif case.reason == "unhappy" and not case.words and case.contact != "yes" and case.state != "claimed":
            self._close(tx, case, reason, _CUSTOMER, outbox)
        if case.state != "grace":
            self.show(tx, case, outbox, grace=True)

    def answered(self, tx: Tx, session: Session, outbox: Outbox) -> None:
        """An answer of this session was given or changed: a card that staff have seen shows it."""
        for case in tx.cases_of(session.customer_id):
            if case.session_id == session.id and case.card_ref:
                self.show(tx, case, outbox)

    def forget_words(self, tx: Tx, session: Session, outbox: Outbox) -> None:
        """The customer took back or changed a message of a survey: the case keeps no copy of its words; its card reads
        them from the answers."""
        for case in tx.cases_of(session.customer_id):
            if case.session_id != session.id:
                continue
            if case.words:
                tx.put_case(replace(case, words=""))
        self.answered(tx, session, outbox)

    def unsent(self, tx: Tx, customer_id: str, message: Unsent, message_id: str, outbox: Outbox) -> None:
        """The customer took back or changed a message that the thread of their case shows: so does the thread."""
        if not customer_id:
            return
        words = message.text[:_WORDS]
        for event in tx.change_heard_message(customer_id, message_id, words, key="note:", at_ms=outbox.now_ms):
            case = tx.find_case(event.case_id)
            if case is not None:
                self._show_event(tx, case, event.id, outbox)

    def resolved(self, tx: Tx, customer_id: str, outbox: Outbox) -> None:
        """The shop's own tools say that this customer was looked after."""
        case = tx.open_case(customer_id)
        if case is not None:
            self._close(tx, case, "resolved", _KOE, outbox)
            self._ask_later(tx, case, outbox)
            if case.state != "grace":
                self.show(tx, case, outbox, grace=True)

    def erased(self, tx: Tx, sessions: Sequence[Session], outbox: Outbox) -> None:
        """The answers of these sessions were erased: their cases end unless the customer was promised something, and
        cards and threads that staff have seen lose what was erased. Call it after `erase_answers`."""
        ids = {session.id for session in sessions}
        by_customer = {session.customer_id for session in sessions if session.customer_id}
        for customer_id in sorted(by_customer):
            self._note_erasure(tx, customer_id, outbox)
        since_ms = min((session.created_ms for session in sessions), default=outbox.now_ms)
        for case in tx.cases_between(since_ms, outbox.now_ms + 1):
            if case.session_id not in ids:
                continue
            if case.state != "settled" and case.contact != "yes":
                self._close(tx, case, "erased", _CUSTOMER, outbox)
            if case.state != "settled" or case.card_ref:
                self.show(tx, case, outbox)
            for event in tx.case_events(case.id):
                if event.ref:
                    self._show_event(tx, case, event.id, outbox)

    def _note_erasure(self, tx: Tx, customer_id: str, outbox: Outbox) -> None:
        at_ms, actor = outbox.now_ms, _CUSTOMER.user_id
        tx.audit(AuditEntry(outbox.new_id(), at_ms, actor, "answers.erase", subject=customer_id, detail=""))

    # ------------------------------------------------------------------------------------------------- customers

    def is_heard(self, tx: Tx, customer_id: str, now_ms: int) -> Case | None:
        """The case whose thread shows what this customer writes outside of a survey: one that somebody looks after, in
        which the customer was answered or was promised an answer; or one settled lately. None: it is the shop's."""
        if not customer_id:
            return None
        case = tx.open_case(customer_id)
        if case is not None:
            talking = case.state == "claimed" or case.replied_ms is not None or case.contact == "yes"
            return case if talking and case.state != "grace" else None
        case = next(reversed(tx.cases_of(customer_id)), None)
        if case is None or case.settled_ms is None or now_ms - case.settled_ms > rules.REOPENS_MS:
            return None
        answered = case.replied_ms is not None or case.assignee
        return case if answered and case.outcome in rules.RESOLVED else None

    def heard(self, tx: Tx, inbound: Inbound, outbox: Outbox) -> bool:
        """Shows a customer's words in the thread of their case, and opens a settled one again; False when no case is
        concerned. Nothing is said: a person answers."""
        address = tx.find_address(inbound.channel, inbound.workspace, inbound.external_id)
        text = inbound.content.text if isinstance(inbound.content, Typed | Media) else ""
        case = None if address is None else self.is_heard(tx, address.customer_id, outbox.now_ms)
        if case is None or not isinstance(inbound.content, Typed | Media):
            return False
        kind = "wrote" if isinstance(inbound.content, Typed) else f"sent_{inbound.content.kind}"
        if not self._relay and inbound.reply_token:
            # with a relay the token is the other tool's: it has one owner
            case = replace(case, reply_token=inbound.reply_token, reply_token_ms=inbound.at_ms)
        after = rules.act(_standing(case), rules.Wrote(text), outbox.now_ms)
        if isinstance(after, Standing):
            if case.state == "settled":
                case = self._reopen(tx, case, after, outbox, promised=False, tell=True)
            case = replace(case, snoozed_ms=None)
        tx.put_case(case)
        self._tell(tx, case, kind, _CUSTOMER, outbox, words=text[:_WORDS], message_id=inbound.message_id)
        self.show(tx, case, outbox)
        return True

    def followed_up(self, tx: Tx, inbound: Inbound, outbox: Outbox) -> bool:
        """A button under "are you all right now?"; False when it is no button of this customer's own case."""
        if not isinstance(inbound.content, Tap):
            return False
        said, _, case_id = inbound.content.value.partition(":")
        case = tx.find_case(case_id)
        address = tx.find_address(inbound.channel, inbound.workspace, inbound.external_id)
        theirs = case is not None and address is not None and address.customer_id == case.customer_id
        if case is None or not theirs or case.asked_ms is None or said not in ("solved", "still"):
            return False
        lang = self._voice.language_of(tx, inbound)
        fresh = case.after != said
        if said == "still":
            due_ms = self._promises.reply_by_ms(outbox.now_ms)
            if fresh:
                self._still_a_problem(tx, case, outbox)
            words = {
                "reply_by": self._promises.reply_by_text(due_ms, lang),
                "here": self._voice.here(inbound.channel, lang),
            }
            say = Say(self._voice.text("after.still", lang, words))
        else:
            if fresh:
                tx.put_case(replace(case, after="solved"))
                self._tell(tx, case, "solved", _CUSTOMER, outbox)
                self.show(tx, case, outbox)
            say = Say(self._voice.text("after.solved", lang, {}))
        asked = tx.find_job_by_key(f"{UNASKED}ask:{case.id}")
        if asked is not None:
            question, label = (
                self._voice.text("staff.after", lang, {}),
                self._voice.text(f"after.{said}.label", lang, {}),
            )
            self._voice.show_answer(tx, asked, outbox, question=question, answer=label)
        self._voice.answer(tx, inbound, outbox, say, customer_id=case.customer_id)
        return True

    def _still_a_problem(self, tx: Tx, case: Case, outbox: Outbox) -> None:
        case = replace(case, after="still")
        after = rules.act(_standing(case), rules.StillAProblem(), outbox.now_ms)
        other = tx.open_case(case.customer_id)
        if case.state == "settled" and isinstance(after, Standing) and other is None:
            case = self._reopen(tx, case, after, outbox, promised=True, tell=False)
        tx.put_case(case)
        # somebody who has a newer case is looked after there
        told = case if other is None or other.id == case.id else other
        self._tell(tx, told, "still", _CUSTOMER, outbox)
        self.show(tx, told, outbox)

    def _reopen(self, tx: Tx, case: Case, after: Standing, outbox: Outbox, *, promised: bool, tell: bool) -> Case:
        case = replace(
            case,
            state=after.state,
            outcome="",
            settled_ms=None,
            snoozed_ms=None,
            overdue_ms=None,
            due_ms=self._promises.reply_by_ms(outbox.now_ms),
        )
        tx.put_case(case)
        (self._tell if tell else self._note)(tx, case, "reopened", _CUSTOMER, outbox)
        self._watch(tx, case, outbox, since_ms=outbox.now_ms, promised=promised)
        return case

    def blocked(self, tx: Tx, customer_id: str, outbox: Outbox) -> None:
        """The customer blocked the account, or took the block back: their card says so."""
        case = tx.open_case(customer_id) if customer_id else None
        if case is not None and case.card_ref:
            self.show(tx, case, outbox)

    # ------------------------------------------------------------------------------------------------- staff

    def refusal(self, tx: Tx, wanted: CaseRequest, now_ms: int) -> Refusal | None:
        """Why this cannot be done now; None when it can."""
        case = tx.find_case(wanted.case_id)
        if case is None:
            return "gone"
        after = rules.act(_standing(case), _deed(wanted), now_ms)
        if not isinstance(after, Standing):
            return after
        if wanted.verb == "reply":
            address = self.address(tx, case)
            if address is None:
                return "unreachable"
            if address.blocked_ms is not None:
                return "blocked"
        return None

    def carry_out(
        self, tx: Tx, wanted: CaseRequest, by: Colleague, outbox: Outbox, *, to: Colleague | None = None
    ) -> Refusal | None:
        """Do what staff want, with its history, its audit row and the card; why it was not done otherwise. `to` is
        whoever takes the case over."""
        refused = self.refusal(tx, wanted, outbox.now_ms)
        case = tx.find_case(wanted.case_id)
        if case is None or refused is not None:
            self.audit(tx, by.user_id, f"{wanted.verb}.refused", case, outbox, refused or "gone")
            return refused
        after = rules.act(_standing(case), _deed(wanted), outbox.now_ms)
        assert isinstance(after, Standing)
        if after == _standing(case) and wanted.verb == "claim":
            return None  # a second click
        names = {by.user_id: by.name, case.assignee: case.assignee_name} | ({} if to is None else {to.user_id: to.name})
        moved = replace(
            case,
            state=after.state,
            assignee=after.assignee,
            assignee_name=names.get(after.assignee, ""),
            snoozed_ms=after.snoozed_ms,
            claimed_ms=outbox.now_ms if after.assignee != case.assignee else case.claimed_ms,
        )
        match wanted.verb:
            case "claim":
                self._note(tx, moved, "claimed", by, outbox)
            case "hand_over":
                self._tell(tx, moved, "handed_over", by, outbox, words=wanted.to)
                if wanted.text:
                    self._tell(tx, moved, "note", by, outbox, words=wanted.text)
            case "snooze":
                self._note(tx, moved, "snoozed", by, outbox)
                self._put_timer(tx, moved, Timer(moved.id, "wake", due_ms=wanted.until_ms), wanted.until_ms, outbox)
            case "call":
                self._tell(tx, moved, "call" if wanted.reached else "missed_call", by, outbox, words=wanted.text)
                if wanted.reached and moved.replied_ms is None:
                    moved = replace(moved, replied_ms=outbox.now_ms)
            case "reply":
                self._reply(tx, moved, by, wanted.text, outbox)
                moved = replace(moved, reply_token="")
            case "resolve":
                moved = replace(moved, outcome=after.outcome, settled_ms=after.settled_ms)
                self._note(tx, moved, "resolved", by, outbox)
                if wanted.text:
                    self._tell(tx, moved, "note", by, outbox, words=wanted.text)
                if wanted.follow_up:
                    self._ask_later(tx, moved, outbox)
        tx.put_case(moved)
        self.audit(tx, by.user_id, wanted.verb, moved, outbox)
        self.show(tx, moved, outbox)
        return None

    def reply_text(self, case: Case, tx: Tx, by: Colleague, text: str) -> str:
        """A reply exactly as the customer will read it."""
        address = self.address(tx, case)
        lang = self.language(tx, case)
        words = {
            "brand": self._shop.brand_in(lang),
            "team": self._shop.team_in(lang),
            "staff": self._name(by, lang),
            "text": text,
            "here": self._voice.here("line" if address is None else address.channel, lang),
        }
        return self._voice.text("staff.reply", lang, words)

    def _name(self, by: Colleague, lang: str) -> str:
        """Who writes to the customer, as they read it; the team when nobody is named."""
        return self._shop.staff.name_in(lang, by.user_id, by.name) or self._shop.team_in(lang)

    def suggestion(self, tx: Tx, case: Case, behaviour: rules.Behaviour, lang: str, now_ms: int) -> str:
        """The text to start from, by what went wrong."""
        reply_by = self._promises.reply_by_text(self._promises.reply_by_ms(now_ms), lang)
        return self._voice.text(f"care.{behaviour}", lang, {"reply_by": reply_by})

    def behaviour(self, tx: Tx, case: Case, *, with_words: bool = True) -> rules.Behaviour:
        """What went wrong, as far as the answers and (for those who may read them) the words say."""
        answers = tx.answers_of_session(case.session_id) if case.session_id else []
        comments = [a.value for a in answers if not a.numeric and not a.missing]
        words = "\n".join([*comments, case.words]) if with_words else ""
        effort = any(a.instrument.startswith("ces_") and not a.missing for a in answers)
        return rules.behaviour_of(case.reason, words, effort=effort)

    def address(self, tx: Tx, case: Case) -> Address | None:
        """Where the customer is written to: where they were asked, else where they can be reached."""
        session = tx.find_session(case.session_id) if case.session_id else None
        if session is not None and session.external_id:
            found = tx.find_address(session.channel, session.workspace, session.external_id)
            if found is not None:
                return found
        known = tx.addresses_of(case.customer_id) if case.customer_id else []
        bare = case.customer_id.split(":", 2)
        if not known and len(bare) == 3:
            return tx.find_address(bare[0], bare[1], bare[2])
        return min(known, key=lambda address: (address.blocked_ms is not None, address.channel != "line"), default=None)

    def language(self, tx: Tx, case: Case) -> str:
        """The customer's language: that of the talk, else what is known of them, else the shop's."""
        session = tx.find_session(case.session_id) if case.session_id else None
        if session is not None:
            return session.lang
        customer = tx.find_customer(case.customer_id)
        return (customer.language if customer is not None else "") or self._shop.language

    def _reply(self, tx: Tx, case: Case, by: Colleague, text: str, outbox: Outbox) -> None:
        address = self.address(tx, case)
        assert address is not None  # `refusal` saw to it
        event_id = outbox.new_id()
        job_id = self._voice.write(
            tx,
            (address.channel, address.workspace, address.external_id),
            Say(self.reply_text(case, tx, by, text)),
            outbox,
            lang=self.language(tx, case),
            customer_id=case.customer_id,
            key=f"reply:{event_id}",
            reply_to=ReplyTo(token=case.reply_token, at_ms=case.reply_token_ms) if case.reply_token else NO_REPLY,
        )
        event = CaseEvent(event_id, case.id, outbox.now_ms, by.user_id, by.name, "reply", text[:_WORDS], job_id)
        tx.note_case_event(event)
        self._show_event(tx, case, event_id, outbox)

    def reply_ended(self, tx: Tx, event_id: str, outbox: Outbox, *, accepted: bool) -> None:
        """What became of a reply: the card says it; the first one that a platform accepted is the first reply."""
        event = tx.find_case_event(event_id)
        case = None if event is None else tx.find_case(event.case_id)
        if event is None or case is None:
            return
        if accepted and case.replied_ms is None:
            case = replace(case, replied_ms=outbox.now_ms)
            tx.put_case(case)
        if not accepted:
            self._tell(tx, case, "reply_failed", _KOE, outbox)
            self._watch_again(tx, case, outbox)
        self.show(tx, case, outbox)

    def audit(self, tx: Tx, actor: str, action: str, case: Case | None, outbox: Outbox, detail: str = "") -> None:
        """Who did what, for good."""
        tx.audit(
            AuditEntry(
                id=outbox.new_id(),
                at_ms=outbox.now_ms,
                actor=actor,
                action=f"case.{action}",
                subject="" if case is None else case.customer_id,
                detail=" ".join(part for part in ("" if case is None else case.id, detail) if part),
            )
        )

    # ------------------------------------------------------------------------------------------------- times

    def _watch(self, tx: Tx, case: Case, outbox: Outbox, *, since_ms: int, promised: bool | None = None) -> None:
        if self._shop.alerts is None:
            return
        if case.due_ms is not None:
            timer = Timer(case.id, "overdue", due_ms=case.due_ms, since_ms=since_ms, promised=promised)
            self._put_timer(tx, case, timer, max(case.due_ms, outbox.now_ms), outbox)
        for step, rule in enumerate(self._shop.alerts.escalate):
            at_ms = self._promises.working_after_ms(since_ms, rule.after_ms)
            timer = Timer(case.id, "escalate", since_ms=since_ms, step=step)
            self._put_timer(tx, case, timer, max(at_ms, outbox.now_ms), outbox)

    def _watch_again(self, tx: Tx, case: Case, outbox: Outbox) -> None:
        """A reply did not reach anybody after all: if the promised time went by while it waited, it was missed."""
        if case.due_ms is None or case.due_ms > outbox.now_ms or (case.overdue_ms or 0) >= case.due_ms:
            return
        began = [event.at_ms for event in tx.case_events(case.id) if event.kind in ("reopened", "apologised")]
        timer = Timer(case.id, "overdue", due_ms=case.due_ms, since_ms=max(began, default=case.opened_ms))
        self._put_timer(tx, case, timer, outbox.now_ms, outbox)

    def _put_timer(self, tx: Tx, case: Case, timer: Timer, due_ms: int, outbox: Outbox, *, key: str = "") -> None:
        outbox.queue(tx, "case", timer, due_ms=due_ms, key=key, customer_id=case.customer_id)

    def due(self, tx: Tx, job: Job, outbox: Outbox) -> None:
        """A "case" job: a time of a case has come."""
        timer = msgspec.json.decode(job.payload, type=Timer)
        tx.finish_job(job, state="done", at_ms=outbox.now_ms)
        case = tx.find_case(timer.case)
        if case is None or not case.customer_id:
            return
        if timer.what == "ask":
            self._ask(tx, case, outbox)
            return
        if case.state not in ("open", "claimed"):
            return
        snoozed = case.snoozed_ms is not None and case.snoozed_ms > outbox.now_ms
        if timer.what == "escalate" and snoozed and case.snoozed_ms is not None:
            self._put_timer(tx, case, timer, case.snoozed_ms, outbox)
            return
        match timer.what:
            case "overdue" if case.due_ms == timer.due_ms and not self._answered(tx, case, timer.since_ms):
                case = replace(case, overdue_ms=outbox.now_ms)
                tx.put_case(case)
                self._tell(tx, case, "overdue", _KOE, outbox)
                self._count_on(tx, case, timer, outbox)
                promised = case.contact == "yes" if timer.promised is None else timer.promised
                if promised and case.apologised_ms is None:
                    later_ms = self._promises.working_after_ms(outbox.now_ms, _CUSTOMER_TOLD_AFTER_MS)
                    self._put_timer(tx, case, msgspec.structs.replace(timer, what="tell_customer"), later_ms, outbox)
            case "still_overdue" if case.due_ms == timer.due_ms and not self._answered(tx, case, timer.since_ms):
                self._count_on(tx, case, timer, outbox)
            case "tell_customer" if case.due_ms == timer.due_ms and not self._answered(tx, case, timer.since_ms):
                case = self._apologise(tx, case, outbox)
            case "escalate" if not self._answered(tx, case, timer.since_ms):
                assert self._shop.alerts is not None
                to = self._shop.alerts.escalate[timer.step : timer.step + 1]
                self._tell(tx, case, "escalated", _KOE, outbox, words=" ".join(name for rule in to for name in rule.to))
            case "wake" if case.snoozed_ms == timer.due_ms:
                case = replace(case, snoozed_ms=None)
                tx.put_case(case)
                self._tell(tx, case, "woke", _KOE, outbox)
            case _:
                return
        self.show(tx, case, outbox)

    def _count_on(self, tx: Tx, case: Case, timer: Timer, outbox: Outbox) -> None:
        """The card says for how long nobody has answered: by the hour on the first day, by the day from then on."""
        every_ms = _HOUR_MS if outbox.now_ms - timer.due_ms < _DAY_MS else _DAY_MS
        passed = (outbox.now_ms - timer.due_ms) // every_ms
        again = msgspec.structs.replace(timer, what="still_overdue")
        self._put_timer(tx, case, again, timer.due_ms + (passed + 1) * every_ms, outbox)

    def _answered(self, tx: Tx, case: Case, since_ms: int) -> bool:
        """Whether the customer got an answer since then: a reply that was not refused, or a call that reached them."""
        for event in tx.case_events(case.id):
            if event.at_ms < since_ms:
                continue
            if event.kind == "call":
                return True
            if event.kind == "reply":
                job = tx.find_job(event.job_id)
                if job is None or job.state in ("done", "ready", "leased", "uncertain"):
                    return True
        return False

    def _apologise(self, tx: Tx, case: Case, outbox: Outbox) -> Case:
        """Tell the customer, once, that the promised time was missed, and promise the next one."""
        address = self.address(tx, case)
        if address is None or address.blocked_ms is not None or case.apologised_ms is not None:
            return case
        lang = self.language(tx, case)
        due_ms = self._promises.reply_by_ms(outbox.now_ms)
        words = {
            "reply_by": self._promises.reply_by_text(due_ms, lang),
            "staff": self._name(Colleague(case.assignee, case.assignee_name), lang),
        }
        case = replace(case, apologised_ms=outbox.now_ms, due_ms=due_ms)
        tx.put_case(case)
        self._voice.write(
            tx,
            (address.channel, address.workspace, address.external_id),
            Say(self._voice.text("staff.overdue", lang, words)),
            outbox,
            lang=lang,
            customer_id=case.customer_id,
            key=f"{UNASKED}overdue:{case.id}",
        )
        self._tell(tx, case, "apologised", _KOE, outbox)
        self._watch_promise(tx, case, outbox)
        return case

    def _watch_promise(self, tx: Tx, case: Case, outbox: Outbox) -> None:
        assert case.due_ms is not None
        timer = Timer(case.id, "overdue", due_ms=case.due_ms, since_ms=outbox.now_ms, promised=True)
        self._put_timer(tx, case, timer, case.due_ms, outbox)

    def may_ask(self, tx: Tx, case: Case) -> bool:
        """Whether the customer can be asked afterwards: koe.yaml wants it, they were not asked yet, and did not ask
        to be left alone."""
        wanted = self._shop.alerts is not None and self._shop.alerts.follow_up_ms is not None
        return wanted and case.asked_ms is None and not self.wants_silence(tx, case)

    def wants_silence(self, tx: Tx, case: Case) -> bool:
        """Whether the customer was promised that we do not write to them, and has not written since."""
        return case.contact == "no" and all(event.kind != "wrote" for event in tx.case_events(case.id))

    def _ask_later(self, tx: Tx, case: Case, outbox: Outbox) -> None:
        alerts = self._shop.alerts
        if alerts is not None and alerts.follow_up_ms is not None:
            due_ms = outbox.now_ms + alerts.follow_up_ms
            # the key can be used once: nobody is asked twice about one case
            self._put_timer(tx, case, Timer(case.id, "ask"), due_ms, outbox, key=f"case:ask:{case.id}")

    def _ask(self, tx: Tx, case: Case, outbox: Outbox) -> None:
        """One question after it was settled; not for who has stopped surveys, wants no contact, has blocked us, or
        has a newer case."""
        address = self.address(tx, case)
        settled = case.state == "settled" and case.outcome in rules.RESOLVED and self.may_ask(tx, case)
        stopped = tx.consent(case.customer_id, "surveys") is False or tx.open_case(case.customer_id) is not None
        if not settled or stopped or address is None or address.blocked_ms is not None:
            return
        lang = self.language(tx, case)
        choices = tuple(
            Choice(self._voice.text(f"after.{said}.label", lang, {}), NODE, f"{said}:{case.id}")
            for said in ("solved", "still")
        )
        case = replace(case, asked_ms=outbox.now_ms)
        tx.put_case(case)
        self._voice.write(
            tx,
            (address.channel, address.workspace, address.external_id),
            Say(self._voice.text("staff.after", lang, {}), choices),
            outbox,
            lang=lang,
            customer_id=case.customer_id,
            key=f"{UNASKED}ask:{case.id}",
        )
        self._note(tx, case, "asked", _KOE, outbox)
        self.show(tx, case, outbox)

    # ------------------------------------------------------------------------------------------------- showing

    def show(self, tx: Tx, case: Case, outbox: Outbox, *, grace: bool = False) -> None:
        """See to it that the card shows the case as it stands; `grace`: not before a mis-tap could be corrected."""
        if self._shop.alerts is None:
            return
        due_ms = outbox.now_ms + (self._shop.alerts.grace_ms if grace else 0)
        self._put_alert(tx, case, {"case": case.id}, due_ms, outbox)

    def _show_event(self, tx: Tx, case: Case, event_id: str, outbox: Outbox) -> None:
        if self._shop.alerts is not None:
            self._put_alert(tx, case, {"case": case.id, "event": event_id}, outbox.now_ms, outbox)

    def _put_alert(self, tx: Tx, case: Case, payload: dict[str, str], due_ms: int, outbox: Outbox) -> None:
        outbox.queue(tx, "alert", payload, due_ms=due_ms, session_id=case.session_id, customer_id=case.customer_id)

    def _close(self, tx: Tx, case: Case, outcome: str, actor: Colleague, outbox: Outbox) -> None:
        tx.put_case(replace(case, state="settled", outcome=outcome, settled_ms=outbox.now_ms))
        self._note(tx, case, outcome, actor, outbox)

    def _note(
        self,
        tx: Tx,
        case: Case,
        kind: str,
        actor: Colleague,
        outbox: Outbox,
        *,
        words: str = "",
        message_id: str = "",
    ) -> str:
        event_id, at_ms = outbox.new_id(), outbox.now_ms
        tx.note_case_event(
            CaseEvent(event_id, case.id, at_ms, actor.user_id, actor.name, kind, words, message_id=message_id)
        )
        return event_id

    def _tell(
        self,
        tx: Tx,
        case: Case,
        kind: str,
        actor: Colleague,
        outbox: Outbox,
        *,
        words: str = "",
        message_id: str = "",
    ) -> None:
        """Note it, and show it in the card's thread."""
        event_id = self._note(tx, case, kind, actor, outbox, words=words, message_id=message_id)
        self._show_event(tx, case, event_id, outbox)


def _standing(case: Case) -> Standing:
    return Standing(case.state, case.assignee, case.snoozed_ms, case.settled_ms, case.outcome)


def _deed(wanted: CaseRequest) -> rules.Deed:
    match wanted.verb:
        case "claim":
            return rules.Claim(wanted.user_id)
        case "hand_over":
            return rules.HandOver(wanted.user_id, wanted.to)
        case "snooze":
            return rules.Snooze(wanted.user_id, wanted.until_ms)
        case "resolve":
            return rules.Resolve(wanted.user_id, wanted.outcome)
        case "reply" | "call":
            return rules.Answer(wanted.user_id)
