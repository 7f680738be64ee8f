"""Asking a customer to refer somebody: labelled as advertising, offered whatever the score, counted by a code.

The offer follows the goodbye of a survey. Who has an open case is not asked, nor who was asked lately. The reward
is the same whatever was answered, and rewarded referrals are counted apart.
"""

from __future__ import annotations

import json
import unicodedata
from typing import TYPE_CHECKING, Final

from bot.channel import Inbound
from bot.outbox import Outbox
from bot.rights import person_of
from bot.voice import Voice
from flows.exchange import Choice, Say, Tap
from storage.errors import Conflict
from storage.records import Event, Session
from storage.store import Tx

if TYPE_CHECKING:
    from bot.config import Referral

NODE: Final = "@refer"
"""The node of its two buttons."""

_ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
"""Without what is read wrongly from a screen or a card: 0 and O, 1, I and L."""
_LENGTH = 6
_TRIES = 20
_FIRST_DEEDS = ("purchase", "contract_start")


class Referrals:
    """The offer, its buttons and the codes. Every method runs inside a unit of work."""

    def __init__(self, *, voice: Voice, rule: Referral | None) -> None:
        self._voice = voice
        self._rule = rule

    def offer(self, tx: Tx, session: Session, outbox: Outbox) -> Say | None:
        """The bubble that follows the goodbye, noted as offered; None when it is not to be shown."""
        rule = self._rule
        if rule is None or not session.customer_id or tx.consent(session.customer_id, "surveys") is False:
            return None
        if tx.open_case(session.customer_id) is not None:
            return None
        offered_ms = tx.referral_offered_ms(session.customer_id)
        if offered_ms is not None and outbox.now_ms - offered_ms < rule.every_ms:
            return None
        tx.note_referral_offer(session.customer_id, outbox.now_ms)
        lang = session.lang
        reward = "" if rule.reward is None else rule.reward.in_(lang)
        text = self._voice.text("refer" if reward else "refer.plain", lang, {"reward": reward})
        return Say(text, tuple(self._button(value, lang) for value in ("refer.details", "refer.later")))

    def take_in(self, tx: Tx, inbound: Inbound, outbox: Outbox) -> bool:
        """True when this was one of the two buttons (and it has been answered)."""
        if not isinstance(inbound.content, Tap) or inbound.content.node != NODE:
            return False
        lang = self._voice.language_of(tx, inbound)
        address = tx.find_address(inbound.channel, inbound.workspace, inbound.external_id)
        person = "" if address is None else address.customer_id
        if self._rule is None or not person:
            here = self._voice.here(inbound.channel, lang)
            say = Say(self._voice.text("closed.button", lang, {"here": here}))
        elif inbound.content.value == "refer.details":
            link = {"code": self._code(tx, person, outbox), "url": self._rule.url or ""}
            say = Say(self._voice.text("refer.details", lang, link))
        else:
            say = Say(self._voice.text("refer.later", lang, {}))
        self._voice.answer(tx, inbound, outbox, say, customer_id=person_of(inbound, person))
        return True

    def _code(self, tx: Tx, customer_id: str, outbox: Outbox) -> str:
        """The customer's own code, the same each time."""
        for _ in range(_TRIES):
            drawn = "".join(_ALPHABET[int(outbox.chance.draw() * len(_ALPHABET))] for _ in range(_LENGTH))
            if tx.customer_of_referral_code(drawn) is None:
                return tx.referral_code(customer_id, drawn, outbox.now_ms)
        raise Conflict("no referral code was free in 20 draws")

    def _button(self, value: str, lang: str) -> Choice:
        return Choice(self._voice.text(f"{value}.label", lang, {}), NODE, value)


def note_referral(tx: Tx, event: Event, *, rewarded: bool) -> None:
    """Count a first purchase (or contract) that carries somebody else's `referral_code`, once for each new customer.

    An event of the type "referral" stands for it from then on, so that figures need one source only."""
    if event.type not in _FIRST_DEEDS or not event.customer_id:
        return
    given = json.loads(event.data).get("referral_code")
    if not isinstance(given, str) or len(given) > 40:
        return
    referrer = tx.customer_of_referral_code(unicodedata.normalize("NFKC", given).strip().upper())
    if referrer is None or referrer == event.customer_id:
        return
    earlier = tx.events_of(event.customer_id, types=_FIRST_DEEDS, limit=1_000)
    if any(known.id != event.id and known.occurred_ms <= event.occurred_ms for known in earlier):
        return
    counted = {"new_customer": event.customer_id, "referrer": referrer, "rewarded": rewarded}
    tx.note_event(
        Event(
            id=f"referral:{event.customer_id}",
            type="referral",
            occurred_ms=event.occurred_ms,
            received_ms=event.received_ms,
            customer_id=event.customer_id,
            data=json.dumps(counted, ensure_ascii=False, separators=(",", ":")),
            imported=event.imported,
        )
    )
