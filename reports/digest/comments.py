"""What customers wrote, as a digest tells it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from flows.days import local_date
from reports.comments.free_text import FreeTexts, analyse_comments
from reports.comments.gathered import Comment, Weeks, gather_comments
from reports.comments.reading import Readers
from reports.digest.rated_comments import Wrote, groups_told
from reports.digest.shop import DigestRule, Shop
from reports.digest.telling import TellingOfComments, weeks_of_comments, windows_of_comments
from reports.digest.weeks import Period
from reports.look_back import written_weeks
from reports.metrics import Stratum
from storage.store import Tx


@dataclass(frozen=True, slots=True)
class Commented:
    """The comments of a digest before anybody reads them: that takes long, and no database."""

    _rule: DigestRule
    _period: Period
    _weeks: Weeks
    _comments: Sequence[Comment]
    _telling: TellingOfComments
    _tz: ZoneInfo

    def texts(self, readers: Readers) -> FreeTexts:
        """What they come to, as far as it may be told beside all digests of the shop."""
        return analyse_comments(
            self._comments,
            readers,
            window=self._weeks,
            may_tell=self._telling.may_tell,
            may_rate=self._may_rate,
            segment=self._rule.segment,
            channel=self._rule.channel,
            seed=f"{self._rule.id} {self._period.name}",
        )

    def _may_rate(
        self, stratum: Stratum, comments: Sequence[Comment], groups_of: Callable[[Comment], frozenset[str]]
    ) -> Callable[[str], bool]:
        """Whether the ratings of a group of those who wrote may be told, of all comments on a question."""
        latest: dict[tuple[date, int], Comment] = {}
        for comment in comments:
            day = local_date(comment.at_ms, self._tz)
            latest[day - timedelta(days=day.weekday()), comment.respondent] = comment
        cells = Counter(
            Wrote(monday, comment.segment, comment.channel, groups_of(comment))
            for (monday, _), comment in latest.items()
        )
        part = (self._rule.segment, self._rule.channel)
        audiences = self._telling.audiences(stratum.touchpoint)
        return groups_told(cells, self._period.weeks, part=part, audiences=audiences)


def gather_commented(tx: Tx, *, shop: Shop, digest_rule: DigestRule, period: Period, tz: ZoneInfo) -> Commented:
    """The comments of one period and of the weeks that it is compared with, and how many there were this year."""
    (window,), _ = windows_of_comments(period.weeks)
    weeks = Weeks.until(window.last(1).first, weeks=window.weeks, tz=tz)
    comments = gather_comments(tx, weeks, touchpoint=digest_rule.touchpoint)
    written = written_weeks(tx, *weeks_of_comments(period.weeks.end).instants(tz), tz=tz)
    telling = TellingOfComments(written, digest_rule, period.weeks, digests=shop.digests)
    return Commented(digest_rule, period, weeks, comments, telling, tz)
