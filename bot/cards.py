"""Cards: what staff see of a case – posted to the alert channel after the grace time, updated when the case changes."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from bot.clock import Clock
from bot.outbox import Outbox
from bot.staff.card import CardFacts, Rating, render_card
from bot.voice import Voice
from flows.texts import item_name
from storage.records import Answer, Case, Job, Session
from storage.store import Store, Tx

if TYPE_CHECKING:
    from bot.config import Shop

_STILL_POSTING_MS = 5_000
_EARLIER = 3
_SETTLED: dict[str, Literal["resolved", "erased"]] = {"resolved": "resolved", "erased": "erased"}
"""What the card of a settled case says, by its outcome; any other was the customer's own doing."""


class Cards:
    """Shows cases to staff: posted to the alert channel after the grace time, updated when the case changes."""

    def __init__(
        self,
        *,
        voice: Voice,
        shop: Shop,
        store: Store,
        clock: Clock,
        outbox: Callable[[], Outbox],
        on_queued: Callable[[Outbox], None],
        may_show_words: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._voice = voice
        self._shop = shop
        self._store = store
        self._clock = clock
        self._outbox = outbox
        self._on_queued = on_queued
        self._may_show_words = may_show_words

    async def due(self, job: Job) -> None:
        """An "alert" job: the grace time is over. Comments and names only go where everybody may read
        them."""
        alerts = self._shop.alerts
        outbox = self._outbox()
        if alerts is None:
            await self._store.write(lambda tx: tx.finish_job(job, state="done", at_ms=outbox.now_ms))
            return
        with_words = await self._may_show_words(alerts.channel)
        await self._store.write(lambda tx: self._show(tx, job, alerts.channel, with_words, outbox))
        self._on_queued(outbox)

    def _show(self, tx: Tx, job: Job, channel: str, with_words: bool, outbox: Outbox) -> None:
        case = tx.find_case(json.loads(job.payload)["case"])
        if case is None or (case.state == "settled" and not case.card_ref):
            # corrected within the grace time, or erased: nobody need know
            tx.finish_job(job, state="done", at_ms=outbox.now_ms)
            return
        if case.state == "open" and not case.card_ref:
            # the first card is still on its way: its reference is needed to update it
            due_ms = outbox.now_ms + _STILL_POSTING_MS
            tx.retry_job(job, due_ms=due_ms, error="card still being posted")
            outbox.expect(due_ms)
            return
        if not tx.finish_job(job, state="done", at_ms=outbox.now_ms):
            return
        lang = self._shop.language
        card = render_card(self.facts(tx, case, lang, named=with_words), lang, with_words=with_words)
        if case.card_ref:
            payload: dict[str, Any] = {"method": "chat.update", "args": card, "ref": case.card_ref}
        else:
            tx.put_case(replace(case, state="open"))
            payload = {"method": "chat.postMessage", "args": {"channel": channel, **card}}
        outbox.put(
            tx,
            Job(
                id=outbox.new_id(),
                kind="send",
                due_ms=outbox.now_ms,
                payload=msgspec.json.encode(payload).decode(),
                lane=f"slack:{channel}",
                key="" if case.card_ref else f"card:{case.id}",
                channel="slack",
                customer_id=case.customer_id,
                created_ms=outbox.now_ms,
            ),
        )

    def posted(self, tx: Tx, case_id: str, ref: str) -> None:
        """The card stands in the channel at `ref`."""
        case = tx.find_case(case_id)
        if case is not None:
            tx.put_case(replace(case, card_ref=ref))

    def facts(self, tx: Tx, case: Case, lang: str, *, named: bool) -> CardFacts:
        """What the card says of a case as it stands now; `named=False` leaves out who it is."""
        session = tx.find_session(case.session_id) if case.session_id else None
        answers = [] if session is None else tx.answers_of_session(session.id)
        comments = [a.value for a in answers if not a.numeric and not a.missing]
        words = "\n".join(dict.fromkeys(w for w in (*comments, case.words) if w))
        customer = tx.find_customer(case.customer_id)
        purchases = tx.events_of(case.customer_id, types=("purchase",))
        order, item, delivered_ms = self._order(tx, session, case.customer_id)
        return CardFacts(
            reason=case.reason,  # type: ignore[arg-type]
            ratings=tuple(self._rating(tx, a, lang) for a in answers if a.numeric and not a.missing),
            words=words,
            contact=case.contact,
            due_ms=case.due_ms,
            here="" if session is None else {"line": "LINE", "slack": "Slack"}[session.channel],
            customer_id=case.customer_id if named else "",
            customer_name=customer.name if named and customer is not None else "",
            nth_order=len(purchases) or None,
            order_id=order.lstrip("#"),
            item=item,
            delivered_ms=delivered_ms,
            earlier=tuple(self._earlier(tx, case, lang)),
            changed=None if session is None else self._changed(tx, session, case, answers, lang),
            state="open" if case.state != "settled" else _SETTLED.get(case.outcome, "settled"),
            timezone=self._shop.timezone,
        )

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
        event = tx.find_event(invitation.event_id) if invitation is not None and invitation.event_id else None
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
