"""`koe person`: everything that is stored about one customer, as text or JSON; and its erasure.

Erasing is final: what remains are counts without a person, and a pseudonym that keeps a late webhook from reviving
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING

import msgspec

from bot.clock import Chance, Clock
from bot.staff.card import erased_message
from flows.flow import Flow
from flows.survey import Library
from reports.rounding import signed
from reports.trust import account as trust
from reports.trust import entries as trust_entries
from reports.trust import words as trust_words
from storage.errors import StoreInUse
from storage.records import Answer, AuditEntry, Dossier, Invitation, Job
from storage.store import Tx, open_store

if TYPE_CHECKING:
    from bot.config import Config, Shop

__all__ = ["Erased", "NotKnown", "erase", "show"]

_PATIENCE_MS = 30_000
_COMPACT_TRIES = 20
_ACTOR = "operator"


class NotKnown(LookupError):
    """Nothing is stored about this customer; the sentence says whether something was."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure did."""

    answers: int
    jobs: int
    """Jobs that waited, and now never happen."""
    clean: bool
    """The database's log was emptied, too."""
    by_server: bool
    """A server is running: it empties the log within some seconds."""


async def show(config: Config, customer_id: str, *, form: str, clock: Clock) -> str:
    """Everything stored about a customer.

    Args:
        config: Where the database is, and the words of the surveys.
        customer_id: The shop's own id of the customer.
        form: "text" to be read, or "json" with every column (times in ms since 1970 UTC).
        clock: For migrations that are applied now.

    Raises:
        NotKnown: nothing is stored under this id.
        StoreError: there is no database, or it cannot be read.
    """
    store = await open_store(config.settings.database_url, now_ms=clock.now_ms(), create=False)
    async with store:
        found, flows, account = await store.read(lambda tx: _read(tx, customer_id, config, clock.now_ms()))
    if form == "json":
        shown = {**msgspec.to_builtins(found), "trust": msgspec.to_builtins(account)}
        return msgspec.json.format(msgspec.json.encode(shown), indent=2).decode()
    return "\n".join(_told(found, flows, account, config.shop))


async def erase(config: Config, customer_id: str, *, clock: Clock, chance: Chance) -> Erased:
    """Forget a customer: open surveys end without a word, nothing more is sent, an audit row with a pseudonym stays.

    What was erased is then removed from the database's write-ahead log as well: here and now, or by the server that is
    running (two processes must not do it).

    Raises:
        NotKnown: nothing is stored under this id.
        StoreError: there is no database, or it cannot be written.
    """
    now_ms = clock.now_ms()
    url = config.settings.database_url
    alone = True
    try:
        store = await open_store(url, now_ms=now_ms, server=True, create=False, busy_timeout_ms=_PATIENCE_MS)
    except StoreInUse:
        alone = False
        store = await open_store(url, now_ms=now_ms, create=False)
    async with store:
        answers, jobs = await store.write(
            lambda tx: _erase(tx, customer_id, config, now_ms, lambda: chance.new_id(now_ms), alone=alone)
        )
        clean = False
        if alone:
            for _ in range(_COMPACT_TRIES):
                clean = clean or await store.compact()
    return Erased(answers=answers, jobs=jobs, clean=clean, by_server=not alone)


def _erase(
    tx: Tx, customer_id: str, config: Config, now_ms: int, new_id: Callable[[], str], *, alone: bool
) -> tuple[int, int]:
    found = _dossier(tx, customer_id, config.shop.tz)
    # written first: erasing puts the pseudonym in the place of the name, here as in older rows
    entry = AuditEntry(id=new_id(), at_ms=now_ms, actor=_ACTOR, action="person.erase", subject=customer_id, detail="")
    tx.audit(entry)
    refs = [case.card_ref for case in found.cases] + [event.ref for event in found.case_events]
    seen = [ref for ref in refs if ":" in ref]
    tx.erase_customer(customer_id, now_ms)
    cards = {case.card_ref for case in found.cases}
    unsent = any(job.key.startswith("reply:") and job.state in _WAITING for job in found.jobs)
    # what staff have seen in Slack: the server that runs, or the next one, takes the words away
    for ref in seen:
        told = erased_message(config.shop.language, unsent=unsent and ref in cards)
        update = {"method": "chat.update", "args": told, "ref": ref}
        tx.put_job(
            Job(
                id=new_id(),
                kind="send",
                due_ms=now_ms,
                payload=msgspec.json.encode(update).decode(),
                lane=f"slack:{ref.partition(':')[0]}",
                channel="slack",
                created_ms=now_ms,
            )
        )
    if not alone:
        tx.put_job(Job(id=new_id(), kind="compact", due_ms=now_ms, payload="{}", created_ms=now_ms))
    return len(found.answers), sum(job.state in _WAITING for job in found.jobs)


_WAITING = ("ready", "leased", "held")


def _read(tx: Tx, customer_id: str, config: Config, now_ms: int) -> tuple[Dossier, dict[str, Flow], trust.Ledger]:
    found = _dossier(tx, customer_id, config.shop.tz)
    flows = {s.revision: flow for s in found.sessions if (flow := _flow(tx, s.revision, config.library))}
    rules = config.shop.trust.rules
    entries = trust_entries.read_entries(tx, customer_id, now_ms, rules=rules, tz=config.shop.tz)
    return found, flows, trust.ledger(entries, now_ms, rules)


def _dossier(tx: Tx, customer_id: str, tz: tzinfo) -> Dossier:
    found = tx.dossier(customer_id)
    if found:
        return found
    erased_ms = tx.erased_ms(customer_id) if customer_id else None
    if erased_ms is not None:
        raise NotKnown(f"customer {customer_id!r} was erased on {_when(erased_ms, tz)}; nothing is stored.")
    raise NotKnown(
        f"there is no customer {customer_id!r}; give the shop's own id, as it stands in events (customer.id)."
    )


def _flow(tx: Tx, revision: str, library: Library) -> Flow | None:
    """The survey as it was asked; None when it can no longer be read: codes are shown then."""
    definition = tx.find_revision(revision)
    try:
        return None if definition is None else library.flow_from(definition)
    except ValueError:
        return None


# --------------------------------------------------------------------------------------------------------- as text


def _told(found: Dossier, flows: dict[str, Flow], account: trust.Ledger, shop: Shop) -> Iterator[str]:
    tz, lang = shop.tz, shop.language

    def at(ms: int | None) -> str:
        return "–" if ms is None else _when(ms, tz)

    customer = found.customer
    yield f"Customer {_plain(found.customer_id)}"
    if customer is not None:
        language = customer.language or "–"
        yield f"  name {_plain(customer.name) or '–'}, language {language}, since {at(customer.created_ms)}"
    yield f"  times are {tz}"
    yield from _section(
        "Addresses",
        [
            f"{a.channel} {_plain(a.external_id)} ({a.workspace}), {a.certainty or 'not linked'} by {a.source}, since "
            + at(a.created_ms)
            + (f", blocked {at(a.blocked_ms)}" if a.blocked_ms is not None else "")
            for a in found.addresses
        ],
    )
    yield from _section(
        "Match keys",
        [f"{k.kind}: keyed hash {k.key_hash[:12]}…, by {k.source}, {at(k.created_ms)}" for k in found.match_keys],
    )
    yield from _section(
        "Consents", [f"{at(c.at_ms)} {c.kind}: {'yes' if c.given else 'no'} ({c.source})" for c in found.consents]
    )
    yield from _section(
        "Events",
        [
            f"{at(e.occurred_ms)} {_plain(e.type)} {_plain(e.id)}{' (imported)' if e.imported else ''} {_plain(e.data)}"
            for e in found.events
        ],
    )
    yield from _section(
        "Invitations",
        [
            f"{at(i.planned_ms)} {i.flow_id} by {i.trigger_id}: {i.state}"
            + (f" ({i.reason})" if i.reason else "")
            + f", due {at(i.due_ms)}"
            + (f", sent {at(i.sent_ms)} in {i.channel}" if i.sent_ms is not None else "")
            + (f", asked for by {_plain(i.requested_by)}" if i.requested_by else "")
            + (f", note: {_plain(i.note)}" if i.note else "")
            + (f", experiment {i.experiment}: {_arm(i, shop)}" if i.experiment else "")
            for i in found.invitations
        ],
    )
    yield from _section("Sessions and answers", list(_sessions(found, flows, at, lang)))
    yield from _section(
        "Cases",
        [
            f"{at(c.opened_ms)} {c.reason}: {c.state}"
            + (f" ({c.outcome})" if c.outcome else "")
            + (f", due {at(c.due_ms)}" if c.due_ms is not None else "")
            + (f", wants contact: {c.contact}" if c.contact else "")
            + (f", words: {_plain(c.words)}" if c.words else "")
            for c in found.cases
        ],
    )
    yield from _section(
        "What was done in cases",
        [
            f"{at(e.at_ms)} {e.kind} by {_plain(e.actor_name or e.actor)}" + (f": {_plain(e.words)}" if e.words else "")
            for e in found.case_events
        ],
    )
    yield ""
    head, *lines = trust_words.ledger_text(account, lang)
    yield _plain(head)
    for line in lines:
        yield f"  {_plain(line)}"
    yield from _section(
        "Falls of the trust balance",
        [
            f"{at(d.at_ms)} from {signed(d.high, 2)} to {signed(d.balance, 2)}" + (", case opened" if d.case_id else "")
            for d in found.trust_drops
        ],
    )
    yield from _section("Referral code", [found.referral_code] if found.referral_code else [])
    waiting = [job for job in found.jobs if job.state in _WAITING]
    yield from _section("Jobs waiting", [f"{at(j.due_ms)} {j.kind} {j.channel} ({j.state})" for j in waiting])
    yield f"\nJobs done: {len(found.jobs) - len(waiting)} (messages sent keep their text; --format json shows it)"
    yield from _section(
        "Audit", [f"{at(e.at_ms)} {_plain(e.actor)} {e.action} {_plain(e.detail)}".rstrip() for e in found.audit]
    )


def _arm(invitation: Invitation, shop: Shop) -> str:
    """The arm, and what the shop's own people are to do for it."""
    experiment = next((e for e in shop.experiments if e.id == invitation.experiment), None)
    arm = None if experiment is None else experiment.arm(invitation.arm)
    return f"arm {invitation.arm}" + (f" – {_plain(arm.act)}" if arm is not None and arm.act else "")


def _sessions(found: Dossier, flows: dict[str, Flow], at: Callable[[int | None], str], lang: str) -> Iterator[str]:
    for session in found.sessions:
        yield (
            f"{at(session.created_ms)} {session.flow_id} in {session.channel} ({session.lang}): {session.status}"
            + (f", ended {at(session.ended_ms)}" if session.ended_ms is not None else "")
            + (f", segment {_plain(session.segment)}" if session.segment else "")
        )
        flow = flows.get(session.revision)
        for answer in found.answers:
            if answer.session_id == session.id:
                yield "  " + _answer(answer, flow, at, lang)
    known = {session.id for session in found.sessions}
    for answer in found.answers:
        if answer.session_id not in known:
            yield _answer(answer, None, at, lang)


def _answer(answer: Answer, flow: Flow | None, at: Callable[[int | None], str], lang: str) -> str:
    question = None if flow is None else flow.find(answer.question)
    name = answer.question if question is None else f"{answer.question} ({question.name_in(lang)})"
    given = _plain(answer.value)
    if answer.missing:
        given = answer.missing
    elif question is not None and answer.numeric:
        label = question.label_of(answer.value, answer.lang)
        given = f"{given} 「{label}」" if label != given else given
    former = f", no longer counts since {at(answer.replaced_ms)}" if answer.replaced_ms is not None else ""
    return f"{at(answer.answered_ms)} {name}: {given}{' (late)' if answer.late else ''}{former}"


def _section(title: str, rows: list[str]) -> Iterator[str]:
    yield f"\n{title}: {len(rows) or 'none'}" if title != "Sessions and answers" or not rows else f"\n{title}:"
    for row in rows:
        yield f"  {row}"


def _when(ms: int, tz: tzinfo) -> str:
    return datetime.fromtimestamp(ms / 1000, tz).strftime("%Y-%m-%d %H:%M")


def _plain(text: str) -> str:
    """What others wrote, in one line; what a terminal would obey is spelled out when it is printed."""
    return text.replace("\r\n", "\n").replace("\n", " / ")
