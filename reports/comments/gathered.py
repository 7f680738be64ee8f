"""Comments as they come in: masked at the door, their writers turned into numbers that mean nothing elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta, tzinfo

from flows.days import midnight_ms
from reports.comments.masking import mask, visible
from reports.comments.vocabulary import TextLanguage, language_of
from reports.metrics import Span
from reports.sittings import Together
from reports.values import parse_scale, parse_text
from storage.store import Tx

RATED_BY = "nps"
"""The question whose rating makes a comment one of a promoter or a detractor."""
EARLIER_WEEKS = 4


def said_in(text: str) -> TextLanguage | None:
    """The language of a comment as it was written; None where it says nothing, as a blank or a skip token.

    >>> said_in("丁寧でした"), said_in("fine"), said_in("スキップ")
    ('ja', 'en', None)
    """
    seen = visible(text).strip()
    return language_of(seen) if seen and parse_text(text).kind == "valid" else None


@dataclass(frozen=True, slots=True)
class Weeks:
    """The windows of a report, as instants: [start, end), and within it the week whose words may be new, from `week`;
    it is compared with [earlier, week)."""

    start_ms: int
    end_ms: int
    week_ms: int
    earlier_ms: int
    span: Span

    @classmethod
    def until(cls, monday: date, *, weeks: int, tz: tzinfo) -> Weeks:
        """The `weeks` weeks that end with the one of this Monday."""

        def monday_ms(later: int) -> int:
            return midnight_ms(monday + timedelta(weeks=later), tz)

        start = monday + timedelta(weeks=1 - weeks)
        span = Span(start.isoformat(), (monday + timedelta(weeks=1)).isoformat())
        return cls(monday_ms(1 - weeks), monday_ms(1), monday_ms(0), monday_ms(-EARLIER_WEEKS), span)


@dataclass(frozen=True, slots=True)
class Comment:
    """One masked comment, or a question about the reason that was skipped (`text` is then "")."""

    instrument: str
    survey_kind: str
    touchpoint: str
    wording_id: str
    respondent: int
    """Stands for a customer, within one gathering only."""
    at_ms: int
    text: str
    lang: TextLanguage
    """In which the words are written; any where there are none."""
    rating: int | None = None
    """The NPS rating of the same session, 0–10."""
    quote_ok: bool = False
    """The customer agreed to be quoted outside the company."""
    segment: str = ""
    channel: str = ""


class Gathered:
    """Comments as they come in: masked at the door, customers turned into numbers."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Comment, Together | None]] = []
        self._respondents: dict[str, int] = {}
        self._rated: set[Together] = set()
        self._ratings: dict[Together, int] = {}

    def comment(
        self,
        text: str,
        *,
        instrument: str,
        survey_kind: str,
        touchpoint: str,
        wording_id: str,
        customer: str,
        at_ms: int,
        together: Together | None = None,
        rating: int | None = None,
        quote_ok: bool = False,
        segment: str = "",
        channel: str = "",
    ) -> None:
        """Take one as it was written.

        Args:
            text: the words; blank or a skip token is a comment that was not given.
            customer: "" when unknown: such a comment has a respondent of its own.
            together: what it shares with the rating given in the same go, when `rating` is not known yet.
        """
        lang = said_in(text)
        number = len(self._waiting)
        respondent = self._respondents.setdefault(customer, number) if customer else number
        masked = mask(text).strip() if lang else ""
        comment = Comment(
            instrument, survey_kind, touchpoint, wording_id, respondent, at_ms, masked, lang or "en",
            rating, quote_ok, segment, channel,
        )  # fmt: skip
        self._waiting.append((comment, together))
        if together is not None and masked:
            self._rated.add(together)

    def looks_again(self) -> bool:
        """Whether there is a comment that may have been rated in the same go."""
        return bool(self._rated)

    def rating(self, value: str, *, together: Together | None) -> None:
        """An answer to the question of recommendation, in a second look: one beside no comment is passed over; of
        several in one go the last valid one counts."""
        if together in self._rated and (parsed := parse_scale(value, 0, 10)).code is not None:
            self._ratings[together] = parsed.code

    def comments(self) -> list[Comment]:
        """All of them, in the order in which they came."""
        return [
            replace(comment, rating=self._ratings[together]) if together in self._ratings else comment
            for comment, together in self._waiting
        ]


def gather_comments(tx: Tx, window: Weeks, *, touchpoint: str = "") -> list[Comment]:
    """What customers wrote in a window and in the weeks that its last week is compared with, masked, each with the
    rating of the same session; of one touchpoint, or all ("").

    Analysing a hundred thousand takes most of a minute: do that when the transaction is over.
    """
    gathered = Gathered()
    for row in tx.comments_between(min(window.start_ms, window.earlier_ms), window.end_ms, rated_by=RATED_BY):
        if touchpoint in ("", row.touchpoint):
            gathered.comment(
                row.words,
                instrument=row.instrument,
                survey_kind=row.survey_kind,
                touchpoint=row.touchpoint,
                wording_id=row.wording_id,
                customer=row.customer_id,
                at_ms=row.answered_ms,
                rating=parse_scale(row.rating, 0, 10).code,
                quote_ok=row.quote_ok,
                segment=row.segment,
                channel=row.channel,
            )
    return gathered.comments()
