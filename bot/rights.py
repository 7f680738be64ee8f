"""What belongs to a customer whatever survey is open: see my answers, erase them, stop surveys, resume them.

Texts: copy deck, section 8. The four messages work in a survey and outside it; their buttons carry the node "@rights".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from bot.cases import Cases
from bot.channel import Inbound
from bot.outbox import Outbox
from bot.voice import Voice
from flows import rights
from flows.exchange import Choice, OpenCase, Say, Tap, Typed
from storage.records import Session
from storage.store import Tx

if TYPE_CHECKING:
    from bot.config import Shop
    from bot.promises import Promises

Stop = Callable[[Tx, Session, str, Outbox], object]
"""Ends a session from outside: (tx, session, reason, outbox)."""

_COMPACT_AFTER_MS = 1_000
_NEWS_DAYS = 3
"""How long it takes until the shop's news stop, as told to the customer: staff do it by hand."""
_CORRECTABLE = ("open", "completed")
"""A conversation that was broken off or has run out takes no corrections; erasing is always possible."""


class Rights:
    """Answers the four messages and their buttons."""

    def __init__(self, *, voice: Voice, cases: Cases, stop: Stop, shop: Shop, promises: Promises) -> None:
        self._voice = voice
        self._cases = cases
        self._stop = stop
        self._shop = shop
        self._promises = promises

    def take_in(self, tx: Tx, inbound: Inbound, outbox: Outbox) -> bool:
        """True when this was one of the rights (and it has been answered)."""
        asked: str | None
        match inbound.content:
            case Typed(text=text):
                asked = rights.recognise(text)
                if asked is None:
                    return False
            case Tap(node=rights.NODE, value=value):
                asked = value
            case _:
                return False
        self._act(tx, inbound, outbox, asked)
        return True

    def _act(self, tx: Tx, inbound: Inbound, outbox: Outbox, asked: str) -> None:
        address = tx.find_address(inbound.channel, inbound.workspace, inbound.external_id)
        person = person_of(inbound, "" if address is None else address.customer_id)
        lang = self._voice.language_of(tx, inbound)
        session_id = ""
        match asked:
            case "unsubscribe":
                say = self._say("unsub.ask", lang, ("unsub.yes", "unsub.no", "unsub.news"))
            case "unsub.yes" | "unsub.news":
                self._stop_surveys(tx, inbound, outbox, person)
                if asked == "unsub.news":
                    tx.set_consent(person, "news", False, inbound.at_ms, f"chat:{inbound.channel}")
                    self._tell_staff(tx, inbound, outbox, person)
                    say = self._say("unsub.news", lang, (), days=str(_NEWS_DAYS))
                else:
                    say = self._say("unsub.done", lang, ())
            case "unsub.no" | "erase.no":
                say = self._say("rights.kept", lang, ())
            case "resume":
                tx.set_consent(person, "surveys", True, inbound.at_ms, f"chat:{inbound.channel}")
                say = self._say("resume", lang, ())
            case "mine":
                say, session_id = self._mine(tx, person, lang)
            case "erase":
                say = self._say("erase.ask", lang, ("erase.yes", "erase.no"))
            case "erase.yes":
                sessions = tx.sessions_of(person)
                for session in sessions:
                    if session.status == "open":
                        self._stop(tx, session, "erased", outbox)
                tx.erase_answers(person, outbox.now_ms)
                self._cases.erased(tx, sessions, outbox)
                self.empty_the_log(tx, outbox)
                say = self._say("erase.done", lang, ())
            case _:
                closed = self._voice.text("closed.button", lang, {"here": self._voice.here(inbound.channel, lang)})
                say = Say(closed)
        self._voice.answer(tx, inbound, outbox, say, customer_id=person, session_id=session_id)

    def empty_the_log(self, tx: Tx, outbox: Outbox) -> None:
        """Erased words stay readable in the database's log until it is emptied: see to that soon."""
        due_ms = outbox.now_ms + _COMPACT_AFTER_MS
        outbox.queue(tx, "compact", due_ms=due_ms)

    def _stop_surveys(self, tx: Tx, inbound: Inbound, outbox: Outbox, person: str) -> None:
        tx.set_consent(person, "surveys", False, inbound.at_ms, f"chat:{inbound.channel}")
        while (session := tx.current_session(inbound.channel, inbound.workspace, inbound.external_id)) is not None:
            self._stop(tx, session, "opted_out", outbox)
        for session in tx.sessions_of(person):
            if session.status == "open":
                self._stop(tx, session, "opted_out", outbox)
        for invitation in tx.open_invitations(person):
            if invitation.state == "planned":
                tx.put_invitation(replace(invitation, state="withdrawn", reason="opted_out"))
        tx.cancel_jobs(outbox.now_ms, customer_id=person, kinds=("invite", "remind", "wake", "expire"))

    def _tell_staff(self, tx: Tx, inbound: Inbound, outbox: Outbox, person: str) -> None:
        self._cases.open_for(
            tx, person, "", OpenCase("person", words=self._voice.text("unsub.news.label", "ja", {})), outbox
        )

    def _mine(self, tx: Tx, person: str, lang: str) -> tuple[Say, str]:
        """The answers of the latest session, and that session, which 「訂正する」 goes back to."""
        answers = [a for a in tx.answers_of(person) if not a.missing]
        if not answers:
            return self._say("mine.none", lang, ()), ""
        latest = max(answers, key=lambda a: a.answered_ms)
        mine = [a for a in answers if a.session_id == latest.session_id]
        lines = "\n".join(
            self._voice.text(
                "mine.line",
                lang,
                {
                    "question": self._voice.question_name(tx, a, lang),
                    "answer": self._voice.answer_label(tx, a, lang),
                },
            )
            for a in mine
        )
        text = self._voice.text(
            "mine", lang, {"date": self._promises.date_text(latest.answered_ms, lang), "answers": lines}
        )
        session = tx.find_session(latest.session_id)
        change = Choice(self._voice.text("mine.change.label", lang, {}), "@control", "change")
        erase = Choice(self._voice.text("mine.erase.label", lang, {}), rights.NODE, "erase")
        correctable = session is not None and session.status in _CORRECTABLE
        # an imported answer's session is a name only, which no button could find again
        return Say(text, (change, erase) if correctable else (erase,)), "" if session is None else latest.session_id

    def _say(self, key: str, lang: str, choices: tuple[str, ...], **variables: str) -> Say:
        known = {
            "brand": self._shop.brand_in(lang),
            "team": self._shop.team_in(lang),
            "support_hours": self._promises.support_hours_text(lang),
            **variables,
        }
        return Say(
            self._voice.text(key, lang, known),
            tuple(Choice(self._voice.text(f"{value}.label", lang, {}), rights.NODE, value) for value in choices),
        )


def person_of(inbound: Inbound, customer_id: str) -> str:
    """Whom consent and erasure are kept for: the customer, or the bare address while nobody knows whose it is."""
    return customer_id or f"{inbound.channel}:{inbound.workspace}:{inbound.external_id}"
