"""What may be done with a case – a customer who is being looked after – and what becomes of it. Pure.

    grace → open → claimed → settled, and back to open or claimed when it was not solved after all

Staff, the customer and time act on it; whoever is late gets a refusal that says what stands there now.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from typing import Literal, assert_never

NODE = "@case"
"""The node of the buttons under "are you all right now?": their value is "solved:<case>" or "still:<case>"."""

DAY_MS = 86_400_000
REOPENS_MS = 7 * DAY_MS
"""So long after it was settled a customer's words open a case again; later they are another matter."""
SNOOZE_MAX_MS = 30 * DAY_MS

State = Literal["grace", "open", "claimed", "settled"]
Outcome = Literal["exchange", "refund", "resend", "explained", "improve", "unreached", "other"]
OUTCOMES: tuple[Outcome, ...] = ("exchange", "refund", "resend", "explained", "improve", "unreached", "other")
"""How staff settle a case."""
RESOLVED = frozenset((*OUTCOMES, "resolved"))
"""Outcomes after which a customer may say that it is not solved; "resolved" comes from the shop's own tools."""

Refusal = Literal["settled", "erased", "taken", "already", "grace", "snooze_past", "snooze_far"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What of a case decides what may be done with it."""

    state: State
    assignee: str = ""
    snoozed_ms: int | None = None
    settled_ms: int | None = None
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """Somebody looks after it."""

    by: str


@dataclass(frozen=True, slots=True)
class HandOver:
    """Somebody else looks after it from here on."""

    by: str
    to: str


@dataclass(frozen=True, slots=True)
class Snooze:
    """Nobody is reminded of it before `until_ms`."""

    by: str
    until_ms: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply or a call: whoever answers an unclaimed case has claimed it."""

    by: str


@dataclass(frozen=True, slots=True)
class Resolve:
    """It is settled, with this outcome."""

    by: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Wrote:
    """The customer wrote outside of a survey."""

    text: str


@dataclass(frozen=True, slots=True)
class StillAProblem:
    """The customer was asked afterwards, and it is not solved."""


Deed = Claim | HandOver | Snooze | Answer | Resolve | Wrote | StillAProblem


def act(case: Standing, deed: Deed, now_ms: int) -> Standing | Refusal:
    """The case after the deed, or why it is not done. A deed that changes nothing gives the same case.

    >>> act(Standing("open"), Claim("U1"), 0)
    Standing(state='claimed', assignee='U1', snoozed_ms=None, settled_ms=None, outcome='')
    >>> act(Standing("claimed", "U1"), Claim("U2"), 0)
    'taken'
    """
    match deed:
        case Wrote() | StillAProblem():
            return _heard(case, deed, now_ms)
        case _ if case.state == "settled":
            return "erased" if case.outcome == "erased" else "settled"
        case _ if case.state == "grace":
            return "grace"
        case Claim(by=by):
            if case.state == "claimed":
                return case if case.assignee == by else "taken"
            return replace(case, state="claimed", assignee=by)
        case HandOver(to=to):
            if case.assignee == to:
                return "already"
            return replace(case, state="claimed", assignee=to, snoozed_ms=None)
        case Snooze(until_ms=until_ms):
            if until_ms <= now_ms:
                return "snooze_past"
            if until_ms > now_ms + SNOOZE_MAX_MS:
                return "snooze_far"
            return replace(case, snoozed_ms=until_ms)
        case Answer(by=by):
            if case.state == "open":
                return replace(case, state="claimed", assignee=by, snoozed_ms=None)
            return replace(case, snoozed_ms=None)
        case Resolve(by=by, outcome=outcome):
            # who settled an unclaimed case looked after it
            who = case.assignee or by
            return Standing("settled", assignee=who, settled_ms=now_ms, outcome=outcome)
        case _:
            assert_never(deed)


def _heard(case: Standing, deed: Wrote | StillAProblem, now_ms: int) -> Standing | Refusal:
    if case.state != "settled":
        return replace(case, snoozed_ms=None)
    if case.outcome == "erased":
        return "erased"
    if isinstance(deed, Wrote):
        late = case.settled_ms is None or now_ms - case.settled_ms > REOPENS_MS
        if late or case.outcome not in RESOLVED or is_thanks(deed.text):
            return "settled"
    # it goes back to who knows it already
    return Standing("claimed" if case.assignee else "open", assignee=case.assignee)


_THANKS = re.compile(
    r"(どうも|本当に|ほんとうに|ご?丁寧に|ご?対応|ご?連絡|ご?返信|いただき|頂き|をいただき|早速の?|迅速な|、|。|!|♪|\s)*"
    r"(ありがとう(ございます|ございました)?|助かりました|承知しました|了解です|わかりました|分かりました"
    r"|thanks|thank you)"
    r"( so much| very much| a lot|、|。|!|\.|,|♪|\s|ありがとう(ございます|ございました)?|助かりました)*",
    re.IGNORECASE,
)


def is_thanks(text: str) -> bool:
    """Whether somebody only says thank you: nothing is to be done again.

    >>> is_thanks("ご対応ありがとうございました！"), is_thanks("Thank you so much.")
    (True, True)
    >>> is_thanks("ありがとう。でもまだ届きません")
    False
    """
    folded = unicodedata.normalize("NFKC", text).strip()
    return len(folded) <= 60 and _THANKS.fullmatch(folded) is not None


Behaviour = Literal["late", "damaged", "wrong", "unsolved", "effort", "request", "general"]
BEHAVIOURS: tuple[Behaviour, ...] = ("late", "damaged", "wrong", "unsolved", "effort", "request", "general")
"""What went wrong, as far as an apology must name it: one text of the copy deck each (`care.late` …)."""

_SIGNS: tuple[tuple[Behaviour, re.Pattern[str]], ...] = (
    (
        "damaged",
        re.compile(
            r"壊れ|こわれ|割れ|破損|破れ|つぶれ|潰れ|傷|汚れ|不良|crush|broke|damag|defect|torn|scratch", re.IGNORECASE
        ),
    ),
    (
        "wrong",
        re.compile(
            r"違う商品|別の商品|間違|入っていな|足りな|wrong (item|product|size|colou?r)|missing",
            re.IGNORECASE,
        ),
    ),
    (
        "late",
        re.compile(
            r"届かな|届いていな|届いてな|遅れ|遅い|遅く|まだ来な|\blate\b|delay|not arrived|never arrived",
            re.IGNORECASE,
        ),
    ),
)


def behaviour_of(reason: str, words: str, *, effort: bool = False) -> Behaviour:
    """What the apology should admit: by why the case was opened, what the customer wrote, and whether they found it
    laborious. "general" when nothing says more.

    >>> behaviour_of("unhappy", "箱がつぶれていて、贈り物に使えませんでした"), behaviour_of("undelivered", "")
    ('damaged', 'late')
    """
    if reason == "undelivered":
        return "late"
    if reason == "unsolved":
        return "unsolved"
    found = next((behaviour for behaviour, sign in _SIGNS if sign.search(words)), None)
    if found is not None:
        # after support, "slow" is about the answers, not about a parcel
        return "effort" if found == "late" and effort else found
    if effort:
        return "effort"
    return "request" if reason in ("request", "person", "contact", "photo") else "general"
