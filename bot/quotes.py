"""Asking whether a comment may be quoted: once, after the goodbye of a survey in which the customer wrote one.

Inside the company comments are shown masked; any use outside it needs this yes. It is kept as a consent of the customer
and with each comment (`quote_ok`), so that an export says which words may be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bot.channel import Inbound
from bot.outbox import Outbox
from bot.rights import person_of
from bot.voice import Voice
from flows.exchange import Choice, Say, Tap
from storage.records import Session
from storage.store import Tx

if TYPE_CHECKING:
    from bot.config import Shop

NODE: Final = "@quote"
"""The node of its buttons."""
CONSENT: Final = "quote"
_CHOICES = ("quote.inside", "quote.site", "quote.no")


class Quotes:
    """The question and its buttons. Every method runs inside a unit of work."""

    def __init__(self, *, voice: Voice, shop: Shop) -> None:
        self._voice = voice
        self._wanted = shop.ask_to_quote

    def offer(self, tx: Tx, session: Session) -> Say | None:
        """The bubble that follows the goodbye; None when nothing was written, or the customer has answered before."""
        if not self._wanted or not session.customer_id or tx.consent(session.customer_id, CONSENT) is not None:
            return None
        if tx.open_case(session.customer_id) is not None:
            return None
        if not any(not a.numeric and not a.missing for a in tx.answers_of_session(session.id)):
            return None
        lang = session.lang
        buttons = tuple(Choice(self._voice.text(f"{value}.label", lang, {}), NODE, value) for value in _CHOICES)
        return Say(self._voice.text("quote", lang, {}), buttons)

    def take_in(self, tx: Tx, inbound: Inbound, outbox: Outbox) -> bool:
        """True when this was one of the buttons (and it has been answered). A later tap changes the answer."""
        if not isinstance(inbound.content, Tap) or inbound.content.node != NODE:
            return False
        lang = self._voice.language_of(tx, inbound)
        address = tx.find_address(inbound.channel, inbound.workspace, inbound.external_id)
        person = "" if address is None else address.customer_id
        if not person or inbound.content.value not in _CHOICES:
            here = self._voice.here(inbound.channel, lang)
            say = Say(self._voice.text("closed.button", lang, {"here": here}))
        else:
            agreed = inbound.content.value == "quote.site"
            tx.set_consent(person, CONSENT, agreed, inbound.at_ms, f"chat:{inbound.channel}")
            tx.allow_quotes(person, agreed)
            say = Say(self._voice.text(f"{inbound.content.value}.done", lang, {}))
        self._voice.answer(tx, inbound, outbox, say, customer_id=person_of(inbound, person))
        return True
