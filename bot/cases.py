"""Cases: a customer who must be looked after. Opened by a conversation, shown to staff after the grace time in which
the customer may still correct a mis-tap; at most one open case per customer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from bot.outbox import Outbox
from flows.engine import OpenCase
from storage.records import Case, Job, Session
from storage.store import Tx

if TYPE_CHECKING:
    from bot.config import Shop
    from bot.promises import Promises

_WORDS = 2000


class Cases:
    """Opens and settles cases."""

    def __init__(self, *, shop: Shop, promises: Promises) -> None:
        self._shop = shop
        self._promises = promises

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
        if known is None or known.state == "open":
            self._alert(tx, case, outbox)

    def settle(self, tx: Tx, session: Session, reason: str, outbox: Outbox) -> None:
        """The customer corrected a mis-tap, or does not want to be contacted (the case stays, without contact)."""
        case = tx.open_case(session.customer_id)
        if case is None or case.session_id != session.id:
            return
        if reason == "no_contact":
            tx.put_case(replace(case, contact="no"))
        elif case.reason == "unhappy" and not case.words and case.contact != "yes":
            tx.put_case(replace(case, state="settled", outcome=reason, settled_ms=outbox.now_ms))
        if case.state == "open":
            self._alert(tx, case, outbox)

    def forget_words(self, tx: Tx, session: Session) -> None:
        """The customer took a message back: the case keeps no copy of words; its card reads them from the answers."""
        case = tx.open_case(session.customer_id)
        if case is not None and case.session_id == session.id and case.words:
            tx.put_case(replace(case, words=""))

    def resolved(self, tx: Tx, customer_id: str, outbox: Outbox) -> None:
        """The shop's own tools say that this customer was looked after."""
        case = tx.open_case(customer_id)
        if case is not None:
            tx.put_case(replace(case, state="settled", outcome="resolved", settled_ms=outbox.now_ms))
            if case.state == "open":
                self._alert(tx, case, outbox)

    def erased(self, tx: Tx, sessions: Sequence[Session], outbox: Outbox) -> None:
        """The answers of these sessions were erased: their cases end unless the customer was promised something, and
        cards that staff have seen lose what was erased. Call it after `erase_answers`."""
        ids = {session.id for session in sessions}
        since_ms = min((session.created_ms for session in sessions), default=outbox.now_ms)
        for case in tx.cases_between(since_ms, outbox.now_ms + 1):
            if case.session_id not in ids:
                continue
            if case.state != "settled" and case.contact != "yes":
                tx.put_case(replace(case, state="settled", outcome="erased", settled_ms=outbox.now_ms))
            if case.state != "settled" or case.card_ref:
                self._alert(tx, case, outbox, grace=False)

    def _alert(self, tx: Tx, case: Case, outbox: Outbox, *, grace: bool = True) -> None:
        if self._shop.alerts is None:
            return
        outbox.put(
            tx,
            Job(
                id=outbox.new_id(),
                kind="alert",
                due_ms=outbox.now_ms + (self._shop.alerts.grace_ms if grace else 0),
                payload=msgspec.json.encode({"case": case.id}).decode(),
                customer_id=case.customer_id,
                session_id=case.session_id,
                created_ms=outbox.now_ms,
            ),
        )
