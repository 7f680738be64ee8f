"""What Koe says, and how it reaches somebody: the words of the deck, the language of a person, the flow as it was when
a session started, and the way of a turn through its channel into the outbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import msgspec
import structlog

from bot.channel import Channel, Inbound, Turn
from bot.outbox import UNASKED, Outbox
from flows.exchange import Ask, Say
from flows.flow import Flow, Wording
from flows.survey import Library
from storage.records import Address, Answer, Job, Session
from storage.store import Tx

if TYPE_CHECKING:
    from bot.config import Shop

log = structlog.get_logger(__name__)

_SEND_WITHIN_MS = 23 * 3_600_000
"""LINE forgets a retry key after 24 h: from then on the same call would be a second message."""


class ReplyTo(msgspec.Struct, frozen=True):
    """What a later reply may still ride on: LINE's single-use token and when it was given out."""

    token: str = ""
    at_ms: int = 0


NO_REPLY = ReplyTo()


_HOUR_MS = 3_600_000
_ANSWERS_AN_HOUR = 20
_REMEMBERED = 10_000


class Voice:
    """Words, and their way out. Nothing is sent from here: calls become jobs of the caller's transaction."""

    def __init__(self, *, library: Library, shop: Shop, channels: Mapping[str, Channel]) -> None:
        self._library = library
        self._shop = shop
        self._channels = channels
        self._answered: dict[tuple[str, str, str], tuple[int, int]] = {}
        self._flows: dict[str, Flow] = {f.revision: f for f in (*library.flows.values(), *library.arms.values())}

    def flow(self, tx: Tx, session: Session) -> Flow:
        """The flow as it was when this session started."""
        flow = self._flows.get(session.revision)
        if flow is None:
            definition = tx.find_revision(session.revision)
            if definition is None:
                raise LookupError(f"flow {session.flow_id} has no stored revision {session.revision}: restore a backup")
            flow = self._flows[session.revision] = self._library.flow_from(definition)
        return flow

    def speak(
        self, tx: Tx, turn: Turn, session: Session, outbox: Outbox, *, reply_to: ReplyTo, unasked: bool = False
    ) -> None:
        """Queue what a session says; `unasked` when nobody wrote first, which binds it to the contact hours."""
        at = (session.channel, session.workspace, session.external_id)
        self._queue(tx, turn, at, outbox, reply_to=reply_to, customer_id=session.customer_id, unasked=unasked)

    def answer(
        self, tx: Tx, inbound: Inbound, outbox: Outbox, say: Say | Ask, *, customer_id: str = "", session_id: str = ""
    ) -> None:
        """Queue an answer to somebody outside a session's own steps; its buttons name `session_id`."""
        if inbound.standby or not self._hears((inbound.channel, inbound.workspace, inbound.external_id), outbox.now_ms):
            return
        turn = Turn(session_id=session_id, lang=self.language_of(tx, inbound), bubbles=(say,))
        at = (inbound.channel, inbound.workspace, inbound.external_id)
        reply_to = ReplyTo(token=inbound.reply_token, at_ms=inbound.at_ms)
        self._queue(tx, turn, at, outbox, reply_to=reply_to, customer_id=customer_id)

    def write(
        self,
        tx: Tx,
        at: tuple[str, str, str],
        say: Say,
        outbox: Outbox,
        *,
        lang: str,
        customer_id: str,
        key: str,
        reply_to: ReplyTo = NO_REPLY,
    ) -> str:
        """Queue one message of staff's, or about what they do, to (channel, workspace, id). The id of its job; "" when
        that channel is off. `key` is used once ever; one that begins with UNASKED binds it to the contact hours."""
        turn = Turn(session_id="", lang=lang, bubbles=(say,))
        queued = self._queue(tx, turn, at, outbox, reply_to=reply_to, customer_id=customer_id, key=key)
        return queued[-1] if queued else ""

    def show_answer(self, tx: Tx, asked: Job, outbox: Outbox, *, question: str, answer: str) -> None:
        """Where a channel can change what was sent: the message of this job shows what was chosen, without buttons."""
        channel = self._channels.get(asked.channel)
        change = None if channel is None or not asked.ref else channel.render_answered(question, answer)
        if change is not None:
            payload = {**change.payload, "ref": asked.ref}
            outbox.queue(tx, "send", payload, lane=asked.lane, channel=asked.channel, customer_id=asked.customer_id)

    def _hears(self, at: tuple[str, str, str], now_ms: int) -> bool:
        """False once somebody got too many answers within an hour: something there writes by itself, and would go on
        for ever. (Inside a survey the engine keeps its own count.)"""
        since_ms, count = self._answered.pop(at, (now_ms, 0))
        if now_ms - since_ms > _HOUR_MS:
            since_ms, count = now_ms, 0
        self._answered[at] = (since_ms, count + 1)
        if len(self._answered) > _REMEMBERED:
            del self._answered[next(iter(self._answered))]
        return count < _ANSWERS_AN_HOUR

    def _queue(
        self,
        tx: Tx,
        turn: Turn,
        at: tuple[str, str, str],
        outbox: Outbox,
        *,
        reply_to: ReplyTo,
        customer_id: str,
        unasked: bool = False,
        key: str = "",
    ) -> list[str]:
        name, workspace, external_id = at
        queued: list[str] = []
        channel = self._channels.get(name)
        if channel is None:
            log.warning("channel_off", channel=name, session=turn.session_id)
            return queued
        for call in channel.render(turn, external_id=external_id, reply_token=reply_to.token, at_ms=reply_to.at_ms):
            job_id = outbox.new_id()
            queued.append(job_id)
            outbox.put(
                tx,
                Job(
                    id=job_id,
                    kind="send",
                    due_ms=outbox.now_ms,
                    payload=call.stored or msgspec.json.encode(call.payload).decode(),
                    key=key or (f"{UNASKED}{job_id}" if unasked else ""),
                    lane=f"{name}:{workspace}:{external_id}",
                    channel=name,
                    session_id=turn.session_id,
                    customer_id=customer_id,
                    asks=call.asks,
                    updates=call.updates,
                    expires_ms=outbox.now_ms + _SEND_WITHIN_MS,
                    created_ms=outbox.now_ms,
                ),
                call.payload,
            )
        return queued

    # ------------------------------------------------------------------------------------------------- words

    def text(self, key: str, lang: str, variables: Mapping[str, str]) -> str:
        """A text of the deck. Raises TextError when a value it needs is missing."""
        return self._library.deck.text(key, _known(lang), variables)

    def here(self, channel: str, lang: str) -> str:
        """「このトーク」, "this chat"."""
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
        wording = self._wording(tx, answer, lang)
        return answer.question if wording is None else wording.text.fill({})

    def answer_label(self, tx: Tx, answer: Answer, lang: str) -> str:
        """An answer as the customer saw it: 「8点」, 「やや満足」; several joined; a comment as written."""
        if not answer.numeric:
            return answer.value
        wording = self._wording(tx, answer, lang)
        labels = {} if wording is None else {str(code): label for code, label in wording.labels.items()}
        words = [labels.get(code, code) for code in answer.value.split(";")]
        return self.text("label.joiner", lang, {}).join(words)

    def _wording(self, tx: Tx, answer: Answer, lang: str) -> Wording | None:
        """The words it was asked in. An answer that was imported has no session: the words of a flow that asks the
        same with the same labels, None when there is none."""
        session = tx.find_session(answer.session_id)
        if session is None:
            alike = (
                question.wordings[_known(lang)]
                for flow in self._library.flows.values()
                for question in flow.questions
                if question.instrument == answer.instrument != "" and question.label_set == answer.label_set
            )
            return next(alike, None)
        return self.flow(tx, session).question(answer.question).wordings[_known(lang)]


def address_of(inbound: Inbound, now_ms: int) -> Address:
    """The address an event came from, as long as nobody knows whose it is."""
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


def _known(lang: str) -> Literal["ja", "en"]:
    return "en" if lang == "en" else "ja"
