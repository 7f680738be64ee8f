"""What customers wrote, as a digest tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from reports.comments import Comment, Weeks, gather_comments
from reports.digest.shop import DigestRule, Shop
from reports.digest.telling import TellingOfComments, weeks_of_comments, windows_of_comments
from reports.digest.weeks import Period
from reports.free_text import FreeTexts, analyse_comments
from reports.look_back import written_weeks
from reports.reading import Readers
from storage.store import Tx


@dataclass(frozen=True, slots=True)
class Commented:
    """The comments of a digest before anybody reads them: that takes long, and no database."""

    _rule: DigestRule
    _period: Period
    _weeks: Weeks
    _comments: Sequence[Comment]
    _telling: TellingOfComments

    def texts(self, readers: Readers) -> FreeTexts:
        """What they come to, as far as it may be told beside all digests of the shop."""
        return analyse_comments(
            self._comments,
            readers,
            window=self._weeks,
            may_tell=self._telling.may_tell,
            segment=self._rule.segment,
            seed=f"{self._rule.id} {self._period.name}",
        )


def gather_commented(tx: Tx, *, shop: Shop, digest_rule: DigestRule, period: Period, tz: ZoneInfo) -> Commented:
    """The comments of one period and of the weeks that it is compared with, and how many there were this year."""
    (window,), _ = windows_of_comments(period.weeks)
    weeks = Weeks.until(window.last(1).first, weeks=window.weeks, tz=tz)
    comments = gather_comments(
        tx, weeks, touchpoint=digest_rule.touchpoint, segment=digest_rule.segment, channel=digest_rule.channel
    )
    written = written_weeks(tx, *weeks_of_comments(period.weeks.end).instants(tz), tz=tz)
    telling = TellingOfComments(written, digest_rule, period.weeks, digests=shop.digests)
    return Commented(digest_rule, period, weeks, comments, telling)
