"""Cards: what staff see of a case – posted to the alert channel after the grace time, updated when the case changes."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from bot.cases import Cases
from bot.channel import JsonObject
from bot.clock import Clock
from bot.invitations import occasion_of
from bot.outbox import Outbox, Units
from bot.staff.card import (
    WORDED,
    CardFacts,
    Delivery,
    NoteFacts,
    Rating,
    erased_message,
    ledger_line,
    render_card,
    render_note,
)
from bot.voice import Voice
from flows.cases import RESOLVED
from flows.texts import item_name
from reports.trust import account as trust
from reports.trust import words as trust_words
from reports.trust.entries import RELEVANT_TYPES, read_entries
from storage.records import Answer, Case, CaseEvent, Job, Session
from storage.store import Tx

if TYPE_CHECKING:
    from bot.config import Shop

_STILL_POSTING_MS = 5_000
_EARLIER = 3
_LINES = 3
_SAID = 20
_DELIVERIES: Mapping[str, Delivery] = {
    "done": "accepted",
    "ready": "waiting",
    "leased": "waiting",
    "held": "waiting",
    "uncertain": "uncertain",
    "expired": "late",
    "cancelled": "cancelled",
}
"""By the state of the job that carries a reply."""
_WORTH_SHOWING = 0.05
"""Points of a trust balance that do not round to nothing."""


class Cards:
    """Shows cases to staff: posted to the alert channel after the grace time, updated when the case changes."""

    def __init__(
        self,
        *,
        voice: Voice,
        cases: Cases,
        shop: Shop,
        clock: Clock,
        units: Units,
        may_show_words: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._voice = voice
        self._cases = cases
        self._shop = shop
        self._clock = clock
        self._units = units
        self._may_show_words = may_show_words

    async def due(self, job: Job) -> None:
        """An "alert" job: show a case, or an entry of its history in the card's thread. Words and names only go where
        everybody may read them."""
        alerts = self._shop.alerts
        if alerts is None:
            await self._units.write(lambda tx, outbox: tx.finish_job(job, state="done", at_ms=outbox.now_ms))
            return
        with_words = await self._may_show_words(alerts.channel)
        await self._units.write(lambda tx, outbox: self._show(tx, job, alerts.channel, with_words, outbox))

    def _show(self, tx: Tx, job: Job, channel: str, with_words: bool, outbox: Outbox) -> None:
        wanted = json.loads(job.payload)
        case = tx.find_case(wanted["case"])
        if case is None or (case.state == "settled" and not case.card_ref):
            # corrected within the grace time, or erased: nobody need know
            tx.finish_job(job, state="done", at_ms=outbox.now_ms)
            return
        if case.state != "grace" and not case.card_ref and self._is_on_its_way(tx, case, channel, outbox):
            # its reference is needed to update it, and to write into its thread
            due_ms = outbox.now_ms + _STILL_POSTING_MS
            tx.put_back_job(job, due_ms=due_ms, error="card still being posted")
            outbox.expect(due_ms)
            return
        if not tx.finish_job(job, state="done", at_ms=outbox.now_ms):
            return
        event = tx.find_case_event(wanted["event"]) if wanted.get("event") else None
        if event is not None:
            self._show_event(tx, case, event, with_words, outbox)
        elif case.card_ref:
            self._send(
                tx, case, {"method": "chat.update", "args": self._card(tx, case, with_words)}, case.card_ref, outbox
            )
        else:
            case = self._cases.shown(tx, case, outbox) if case.state == "grace" else case
            args = {"channel": channel, **self._card(tx, case, with_words)}
            payload = {"method": "chat.postMessage", "args": args}
            self._send(tx, case, payload, "", outbox, key=f"card:{case.id}:{channel}")

    def _is_on_its_way(self, tx: Tx, case: Case, channel: str, outbox: Outbox) -> bool:
        """Whether the card's message may still arrive. One that was given up – the channel was deleted, or Koe is no
        member – is tried again, or posted to the channel that koe.yaml names by then."""
        posting = tx.find_job_by_key(f"card:{case.id}:{channel}")
        if posting is None:
            return False
        if posting.state == "dead":
            tx.replay_job(posting.id, outbox.now_ms)
            outbox.expect(outbox.now_ms)
        return True

    def _show_event(self, tx: Tx, case: Case, event: CaseEvent, with_words: bool, outbox: Outbox) -> None:
        place, _, ts = case.card_ref.partition(":")
        erased = case.outcome == "erased" or not case.customer_id
        note = render_note(self._note_facts(tx, case, event, erased), self._shop.language, with_words=with_words)
        if event.ref:
            self._send(tx, case, {"method": "chat.update", "args": note}, event.ref, outbox)
        elif place and not erased:
            payload = {"method": "chat.postMessage", "args": {"channel": place, "thread_ts": ts, **note}}
            self._send(tx, case, payload, "", outbox, key=f"note:{event.id}")

    def _send(self, tx: Tx, case: Case, payload: dict[str, Any], ref: str, outbox: Outbox, *, key: str = "") -> None:
        channel = ref.partition(":")[0] or payload["args"]["channel"]
        outbox.queue(
            tx,
            "send",
            payload | ({"ref": ref} if ref else {}),
            lane=f"slack:{channel}",
            key=key,
            channel="slack",
            customer_id=case.customer_id,
        )

    def _card(self, tx: Tx, case: Case, with_words: bool) -> JsonObject:
        lang = self._shop.language
        return render_card(self.facts(tx, case, lang, named=with_words), lang, with_words=with_words)

    def in_full(self, tx: Tx, case: Case, lang: str) -> list[JsonObject]:
        """Blocks of the card with words and names, and of what was said since, oldest first: for who may read
        comments."""
        facts = replace(self.facts(tx, case, lang, named=True), case_id="")
        blocks: list[JsonObject] = list(render_card(facts, lang, with_words=True)["blocks"])
        said = [event for event in tx.case_events(case.id) if event.kind in WORDED and event.words]
        for event in said[-_SAID:]:
            blocks += render_note(self._note_facts(tx, case, event, erased=False), lang, with_words=True)["blocks"]
        return blocks

    def _note_facts(self, tx: Tx, case: Case, event: CaseEvent, erased: bool) -> NoteFacts:
        return NoteFacts(
            kind="erased" if erased or (event.ref and not event.words and event.kind in WORDED) else event.kind,
            words=event.words,
            staff=event.actor_name,
            to=case.assignee_name,
            assignee=case.assignee,
            due_ms=case.due_ms,
            here=self._here(tx, case),
            timezone=self._shop.timezone,
        )

    def posted(self, tx: Tx, key: str, ref: str, outbox: Outbox) -> None:
        """The card stands in the channel at `ref`; `key` is "<case>:<channel>". What changed on its way is shown."""
        case = tx.find_case(key.partition(":")[0])
        if case is not None:
            case = replace(case, card_ref=ref)
            tx.put_case(case)
            if case.state != "open":
                self._cases.show(tx, case, outbox)

    def overtaken(self, tx: Tx, ref: str, outbox: Outbox) -> None:
        """The customer was erased, or erased their answers, while a message about them was on its way: its words go."""
        update = {"method": "chat.update", "args": erased_message(self._shop.language), "ref": ref}
        outbox.queue(tx, "send", update, lane=f"slack:{ref.partition(':')[0]}", channel="slack")

    def facts(self, tx: Tx, case: Case, lang: str, *, named: bool) -> CardFacts:
        """What the card says of a case as it stands now; `named=False` leaves out who it is."""
        session = tx.find_session(case.session_id) if case.session_id else None
        answers = [] if session is None else tx.answers_of_session(session.id)
        comments = [a.value for a in answers if not a.numeric and not a.missing]
        words = "\n".join(dict.fromkeys(w for w in (*comments, case.words) if w))
        customer = tx.find_customer(case.customer_id)
        address = self._cases.address(tx, case)
        reply = next((event for event in reversed(tx.case_events(case.id)) if event.kind == "reply"), None)
        waiting = case.state in ("open", "claimed")
        suggestion = ""
        if waiting and case.replied_ms is None:
            behaviour = self._cases.behaviour(tx, case)
            suggestion = self._cases.suggestion(tx, case, behaviour, lang, self._clock.now_ms())
        purchases = tx.events_of(case.customer_id, types=("purchase",))
        order, item, delivered_ms = self._order(tx, session, case.customer_id)
        return CardFacts(
            reason=case.reason,  # type: ignore[arg-type]
            ratings=tuple(self._rating(tx, a, lang) for a in answers if a.numeric and not a.missing),
            words=words,
            contact=case.contact,
            due_ms=case.due_ms,
            here=self._here(tx, case),
            customer_id=case.customer_id if named else "",
            customer_name=customer.name if named and customer is not None else "",
            nth_order=len(purchases) or None,
            order_id=order.lstrip("#"),
            item=item,
            delivered_ms=delivered_ms,
            earlier=tuple(self._earlier(tx, case, lang)),
            changed=None if session is None else self._changed(tx, session, case, answers, lang),
            state=self._state(case),
            case_id=case.id,
            staff=case.assignee_name,
            claimed_ms=case.claimed_ms,
            snoozed_ms=case.snoozed_ms,
            overdue_ms=self._overdue_by(tx, case) if waiting else None,
            customer_told=case.apologised_ms is not None,
            delivery=self._delivery(tx, reply),
            blocked=waiting and address is not None and address.blocked_ms is not None,
            outcome=case.outcome,
            first_reply_ms=None if case.replied_ms is None else case.replied_ms - case.opened_ms,
            after=case.after,
            suggestion=suggestion,
            ledger=tuple(self._ledger(tx, case, lang)) if named else (),
            timezone=self._shop.timezone,
        )

    def _state(self, case: Case) -> Literal["open", "claimed", "settled", "resolved", "erased"]:
        if case.state == "settled":
            return "resolved" if case.outcome in RESOLVED else "erased" if case.outcome == "erased" else "settled"
        return "claimed" if case.state == "claimed" else "open"

    def _overdue_by(self, tx: Tx, case: Case) -> int | None:
        """For how long the promised time has passed without an answer; None when it has not."""
        if case.overdue_ms is None or case.due_ms is None or case.overdue_ms < case.due_ms:
            return None
        answers = [event.at_ms for event in tx.case_events(case.id) if event.kind in ("reply", "call")]
        answered = max(answers, default=0) >= case.overdue_ms
        return None if answered else self._clock.now_ms() - case.due_ms

    def _delivery(self, tx: Tx, reply: CaseEvent | None) -> Delivery:
        """What is known of the latest reply. Accepted is not delivered, and neither is read."""
        if reply is None:
            return ""
        job = tx.find_job(reply.job_id) if reply.job_id else None
        return "failed" if job is None else _DELIVERIES.get(job.state, "failed")

    def _here(self, tx: Tx, case: Case) -> str:
        address = self._cases.address(tx, case)
        return "" if address is None else {"line": "LINE", "slack": "Slack"}[address.channel]

    def _rating(self, tx: Tx, answer: Answer, lang: str) -> Rating:
        return Rating(
            self._voice.question_name(tx, answer, lang),
            self._voice.answer_label(tx, answer, lang),
            answer.answered_ms,
        )

    def _changed(
        self, tx: Tx, session: Session, case: Case, answers: Sequence[Answer], lang: str
    ) -> tuple[str, str] | None:
        """(old, new) of the latest correction since staff saw the card."""
        grace_ms = 0 if self._shop.alerts is None else self._shop.alerts.grace_ms
        seen_ms = case.opened_ms + grace_ms
        history = tx.answers_of_session(session.id, history=True)
        former = [a for a in history if a.replaced_ms is not None and a.replaced_ms > seen_ms and a.numeric and a.value]
        if not case.card_ref or not former:
            return None
        old = max(former, key=lambda a: a.replaced_ms or 0)
        new = next((a for a in answers if a.question == old.question and a.value not in ("", old.value)), None)
        if new is None:
            return None
        return self._voice.answer_label(tx, old, lang), self._voice.answer_label(tx, new, lang)

    def _ledger(self, tx: Tx, case: Case, lang: str) -> Iterator[str]:
        """What weighs on the customer's trust balance now, and what was done for it, newest first; answers stand
        elsewhere on the card."""
        shop, now_ms = self._shop, self._clock.now_ms()
        rules = shop.trust.rules
        entries = read_entries(tx, case.customer_id, now_ms, rules=rules, tz=shop.tz, types=RELEVANT_TYPES)
        lines = [
            line
            for line in reversed(trust.ledger(entries, now_ms, rules).lines)
            if abs(line.contribution) >= _WORTH_SHOWING and line.code is None
        ]
        if lines:
            yield ledger_line(
                [
                    (line.at_ms, trust_words.type_name(line.type, "en" if lang == "en" else "ja"), line.contribution)
                    for line in lines[:_LINES]
                ],
                lang,
                shop.tz,
            )

    def _earlier(self, tx: Tx, case: Case, lang: str) -> list[Rating]:
        former = [
            a
            for a in tx.answers_of(case.customer_id)
            if a.session_id != case.session_id and a.instrument in ("nps", "sat5", "csat5") and not a.missing
        ]
        newest = sorted(former, key=lambda a: -a.answered_ms)[:_EARLIER]
        return [self._rating(tx, a, lang) for a in newest]

    def _order(self, tx: Tx, session: Session | None, customer_id: str) -> tuple[str, str, int | None]:
        invitation = tx.find_invitation(session.invitation_id) if session is not None else None
        event = None if invitation is None else occasion_of(tx, invitation)
        if event is None:
            return "", "", None
        data = json.loads(event.data)
        number = str(data.get("order") or "")
        for purchase in tx.events_of(customer_id, types=("purchase",)):
            bought = json.loads(purchase.data)
            if data.get("order") is not None and str(bought.get("order")) == str(data["order"]):
                data = {**bought, **data}
                break
        product = data.get("product", "")
        item = item_name(str(product[0] if isinstance(product, list) and product else product or ""))
        return number, item, event.occurred_ms if event.type == "delivery" else None
