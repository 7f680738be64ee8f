"""Small histories of a shop in a real store, for tests of the digest. Weeks are Mondays in Tokyo."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import structs

from reports.comments.reading import Readers
from reports.digest import DigestContext, DigestRule, Shop, gather, parse_period, with_texts
from reports.digest.comments import gather_commented
from reports.experiments import Trial
from reports.instruments import bundled_instruments, specs_of
from reports.render import render_slack, render_thread, render_voices
from storage.records import Address, Answer, Case, Customer, Digest, Event, Invitation, Job, Session
from storage.store import Tx, open_store

TOKYO = ZoneInfo("Asia/Tokyo")
WEEK = "2026-W47"
MONDAY = date(2026, 11, 16)
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SHOP = Shop(brand={"ja": "声の店", "en": "Koe Store"})
WEEKLY = DigestRule("weekly")

_LABELS = {"sat5": "plain", "csat5": "classic", "expect_gap": "expectation"}


def monday_ms(monday: date = MONDAY) -> int:
    return int(datetime.combine(monday, time(), TOKYO).timestamp() * 1000)


NOW_MS = monday_ms() + 7 * DAY_MS + 9 * HOUR_MS
"""The Monday after the week, 09:00."""


def weeks_ago(weeks: int) -> date:
    return MONDAY - timedelta(weeks=weeks)


@dataclass
class History:
    """What happened, collected and then stored at once. Each answer is by a new customer unless one is named."""

    answers: list[Answer] = field(default_factory=list)
    invitations: list[Invitation] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    addresses: list[Address] = field(default_factory=list)
    digests: list[Digest] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    given_up: list[Job] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)

    def _session(self, customer: str, at_ms: int, *, kind: str, touchpoint: str, status: str = "completed") -> str:
        number = next(self.numbers)
        session_id = f"s{number:06}"
        self.sessions.append(
            Session(
                id=session_id, invitation_id=f"i{number:06}", flow_id="f", revision="r", survey_kind=kind,
                touchpoint=touchpoint, segment="", customer_id=customer, channel="line", workspace="w",
                external_id=customer, lang="ja", state="{}", status=status, version=1, created_ms=at_ms,
                started_ms=at_ms, ended_ms=at_ms if status == "completed" else None, expires_ms=None,
            )
        )  # fmt: skip
        return session_id

    def answer(
        self,
        instrument: str,
        value: object,
        *,
        monday: date = MONDAY,
        customer: str = "",
        at_ms: int | None = None,
        kind: str = "transactional",
        touchpoint: str = "purchase",
        wording: str = "",
        label_set: str | None = None,
        lang: str = "ja",
        channel: str = "line",
        segment: str = "",
        missing: str = "",
        late: bool = False,
        status: str = "completed",
        wave: str = "",
    ) -> None:
        number = next(self.numbers)
        who = customer or f"c{number:06}"
        when = at_ms if at_ms is not None else monday_ms(monday) + DAY_MS + number
        session = self._session(who, when, kind=kind, touchpoint=touchpoint, status=status)
        self.answers.append(
            Answer(
                id=f"a{number:06}", session_id=session, customer_id=who, question=instrument,
                instrument=instrument, wording_id=wording or f"{instrument}.1",
                label_set=_LABELS.get(instrument, "") if label_set is None else label_set,
                value="" if missing else str(value), missing=missing, numeric=True, lang=lang, channel=channel,
                survey_kind=kind, touchpoint=touchpoint, segment=segment, flow_id="f", revision="r",
                shown_ms=when - 5000, answered_ms=when, week=monday.isoformat(), late=late,
                wave_id=wave,
            )
        )  # fmt: skip

    def comment(self, words: str, rating: int, **more: object) -> None:
        """A rating and, in the same session, the reason for it; without words the reason was skipped."""
        self.answer("nps", rating, **more)  # type: ignore[arg-type]
        rated = self.answers[-1]
        self.answers.append(
            structs.replace(
                rated, id=f"{rated.id}w", question="reason", instrument="reason", wording_id="reason.score",
                value=words, missing="" if words else "skipped", numeric=False,
            )
        )  # fmt: skip

    def scores(self, instrument: str, counts: dict[object, int], **more: object) -> None:
        for value, times in counts.items():
            for _ in range(times):
                self.answer(instrument, value, **more)  # type: ignore[arg-type]

    def nps(self, promoters: int, detractors: int, n: int, **more: object) -> None:
        self.scores("nps", {9: promoters, 5: detractors, 8: n - promoters - detractors}, **more)

    def invited(self, sent: int, *, monday: date = MONDAY, skipped: Iterable[tuple[str, int]] = ()) -> None:
        at_ms = monday_ms(monday) + HOUR_MS
        outcomes = ["sent"] * sent + [reason for reason, times in skipped for _ in range(times)]
        for outcome in outcomes:
            number = next(self.numbers)
            was_sent = outcome == "sent"
            self.invitations.append(
                Invitation(
                    id=f"x{number:06}", trigger_id="after-purchase", flow_id="f", survey_kind="transactional",
                    touchpoint="purchase", customer_id=f"c{number:06}", event_id="", channel="line", segment="",
                    state="sent" if was_sent else "skipped", reason="" if was_sent else outcome,
                    planned_ms=at_ms, due_ms=at_ms, expires_ms=None, sent_ms=at_ms if was_sent else None,
                    session_id="",
                )
            )  # fmt: skip

    def not_arrived(self, times: int, *, monday: date = MONDAY) -> None:
        """Invitations whose message was given up after every attempt."""
        for _ in range(times):
            number = next(self.numbers)
            at_ms = monday_ms(monday) + HOUR_MS
            session = self._session(
                f"c{number:06}", at_ms, kind="transactional", touchpoint="purchase", status="active"
            )
            self.sessions[-1] = structs.replace(self.sessions[-1], started_ms=None)
            self.invite(self.sessions[-1])
            self.given_up.append(
                Job(id=f"j{number:06}", kind="send", due_ms=at_ms, payload="{}", session_id=session, state="dead")
            )

    def invite_everyone(self) -> None:
        """An invitation, sent a minute before, for each session, where its answers are from."""
        places = {answer.session_id: (answer.segment, answer.channel) for answer in self.answers}
        for session in self.sessions:
            self.invite(session, *places.get(session.id, ("", "line")))

    def invite(self, session: Session, segment: str = "", channel: str = "line") -> None:
        at_ms = session.created_ms - 60_000
        self.invitations.append(
            Invitation(
                id=session.invitation_id, trigger_id="after-purchase", flow_id="f",
                survey_kind=session.survey_kind, touchpoint=session.touchpoint,
                customer_id=session.customer_id, event_id="", channel=channel, segment=segment, state="sent",
                reason="", planned_ms=at_ms, due_ms=at_ms, expires_ms=None, sent_ms=at_ms,
                session_id=session.id,
            )
        )  # fmt: skip

    def bought(self, customer: str, at_ms: int, *, amount: int, linked: bool = True) -> None:
        """A purchase; the first one of a customer makes them known, in LINE if `linked`."""
        data = json.dumps({"order": f"o{next(self.numbers):06}", "amount": amount})
        if linked and not any(event.customer_id == customer for event in self.events):
            self.addresses.append(Address("line", "w", customer, customer, "chat", "linked", "ja", at_ms))
        self.events.append(Event(f"e{next(self.numbers):06}", "purchase", at_ms, at_ms, customer, data))

    def case(
        self,
        *,
        opened_ms: int,
        due_ms: int | None = None,
        settled_ms: int | None = None,
        customer: str = "",
        session: str = "",
        **others: Any,
    ) -> None:
        number = next(self.numbers)
        self.cases.append(
            Case(
                id=f"k{number:06}", customer_id=customer or f"c{number:06}", session_id=session,
                reason="unhappy", words="", state="open" if settled_ms is None else "settled", contact="",
                opened_ms=opened_ms, due_ms=due_ms, settled_ms=settled_ms, **others,
            )
        )  # fmt: skip

    def store(self, tx: Tx) -> None:
        everyone = {answer.customer_id for answer in self.answers}
        everyone |= {invitation.customer_id for invitation in self.invitations}
        everyone |= {case.customer_id for case in self.cases}
        everyone |= {address.customer_id for address in self.addresses}
        for customer in sorted(everyone):
            tx.put_customer(Customer(customer, "", "ja", monday_ms()))
        for address in self.addresses:
            tx.put_address(address)
        for invitation in self.invitations:
            tx.put_invitation(invitation)
        for session in self.sessions:
            tx.new_session(session)
        for answer in self.answers:
            tx.record_answer(answer)
        for job in self.given_up:
            tx.put_job(job)
        for case in self.cases:
            tx.put_case(case)
        for event in self.events:
            tx.note_event(event)
        for digest in self.digests:
            tx.put_digest(digest)


def slack_messages(context: DigestContext) -> list[dict[str, Any]]:
    """Every message of a digest in Slack: the first one, its thread, and what customers said."""
    voices = render_voices(context)
    return [render_slack(context), *render_thread(context), *([] if voices is None else [voices])]


async def digest_of(
    history: History,
    folder: Path,
    *,
    shop: Shop = SHOP,
    rule: DigestRule = WEEKLY,
    week: str = WEEK,
    now_ms: int = NOW_MS,
    tz: ZoneInfo = TOKYO,
    trials: Sequence[Trial] = (),
    comments: bool = False,
) -> DigestContext:
    """The digest of a history, through a real database file; its words and topics if `comments`."""
    store = await open_store(f"sqlite:///{folder / 'koe.db'}", now_ms=now_ms)
    try:
        await store.write(history.store)
        specs = specs_of(bundled_instruments())
        commented = None
        if comments:
            commented = await store.read(
                lambda tx: gather_commented(tx, shop=shop, digest_rule=rule, period=parse_period(week), tz=tz)
            )
        gathered = await store.read(
            lambda tx: gather(
                tx,
                shop=shop,
                digest_rule=rule,
                period=week,
                now_ms=now_ms,
                tz=tz,
                instruments=specs,
                trials=trials,
            )
        )
    finally:
        await store.close()
    return gathered.computed() if commented is None else with_texts(gathered.computed(), commented.texts(Readers()))
