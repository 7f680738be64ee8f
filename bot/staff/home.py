"""App Home: what staff see of Koe at a glance, and the buttons for what they do most. Each sees what they may."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from typing import Any, Final

import structlog

from bot.channel import JsonObject
from bot.slack import blocks as kit
from bot.slack.words import cut
from bot.staff.access import Access, Permission, acting_person
from bot.staff.asking import Budget
from bot.staff.people import Call, Person
from bot.staff.reasons import time_text

log = structlog.get_logger(__name__)

START: Final = "koe.home.start"
CASES: Final = "koe.home.cases"
DIGEST: Final = "koe.home.digest"
DETAILS: Final = "koe.digest.details"
PREVIOUS: Final = "koe.digest.previous"
"""Buttons of a digest's first message; their value is "<digest>:<period>"."""
REFRESH: Final = "koe.home.refresh"
WINDOW_DAYS: Final = 28
"""Response rates are of invitations sent within so many days."""

_CASES_SHOWN = 5
_CASES_LISTED = 40
_FEW = 10
"""Fewer are not told. Source: docs/metrics.md ("How many are enough")."""
_VIEWERS = 10
_VIEWED_S = 3600.0
_ROUND_S = 10.0
"""A round of views.publish at most so often: ten viewers are sixty calls a minute, of a hundred that Slack allows."""
_IN_A_WINDOW = frozenset(("section", "header", "context", "divider", "rich_text", "image"))
_BLOCKS = 98


@dataclass(frozen=True, slots=True)
class HomeCase:
    """A customer being looked after. `due_ms`: by when somebody should have answered."""

    customer_id: str
    customer_name: str
    opened_ms: int
    due_ms: int | None
    assignee: str = ""
    """Slack user id; "" while nobody has claimed it."""


@dataclass(frozen=True, slots=True)
class Running:
    """A survey of which invitations were sent in the window, how many were answered in time, and how many to the
    end."""

    ja: str
    en: str
    invited: int
    answered: int
    completed: int

    def shown_to(self, *, reads_answers: bool) -> bool:
        """Whether the rate may be shown to somebody: of one to nine answers only to those who may read them one by
        one, and of fewer than ten invitations to nobody."""
        return self.invited >= _FEW and (reads_answers or not 0 < self.answered < _FEW)


@dataclass(frozen=True, slots=True)
class Health:
    """What the worker has not done, and what it was told not to do."""

    overdue: int = 0
    """Jobs that are due and not done."""
    oldest_due_ms: int | None = None
    dead: int = 0
    uncertain: int = 0
    paused: tuple[tuple[str, int], ...] = ()
    """(channel, until when)."""


@dataclass(frozen=True, slots=True)
class HomeFacts:
    """Everything a Home can show; the same for all who look.

    Attributes:
        budget: None: LINE is off; "unknown": LINE could not be asked.
        digests: (id, when) of each one's next post.
        paused: (name in ja, in en, since when) of surveys to which nobody is invited.
        planned: Invitations that wait for their time.
    """

    now_ms: int
    cases: tuple[HomeCase, ...] = ()
    surveys: tuple[Running, ...] = ()
    budget: Budget | str | None = None
    digests: tuple[tuple[str, int], ...] = ()
    paused: tuple[tuple[str, str, int], ...] = ()
    planned: int = 0
    health: Health = field(default_factory=Health)


_TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "cases": ("対応中のご相談", "Open cases"),
    "cases.none": ("対応中のご相談はありません。", "There are no open cases."),
    "cases.mine": ("担当：あなた", "yours"),
    "cases.free": ("担当：未定", "not claimed"),
    "cases.theirs": ("担当：ほかのスタッフ", "claimed by a colleague"),
    "cases.due": ("{at}までにご返答", "answer by {at}"),
    "cases.late": ("{at}の期限を過ぎています", "overdue since {at}"),
    "cases.since": ("{at}から", "since {at}"),
    "cases.hidden": ("お客さま（お名前は、権限のある方だけに表示されます）", "A customer (names are not shown to you)"),
    "cases.more": ("ほか{n}件", "{n} more"),
    "surveys": ("実施中のアンケート（直近{days}日）", "Surveys of the last {days} days"),
    "surveys.none": ("この期間のご案内はありません。", "Nobody was invited in this time."),
    "surveys.few": (
        "{name}：ご案内が10件未満のため、回答率は表示しません。",
        "{name}: fewer than 10 invitations, no rate is shown.",
    ),
    "surveys.few_answers": (
        "{name}：ご案内 {n}件。回答が10件未満のため、回答率は表示しません。",
        "{name}: {n} invitations; fewer than 10 answers, no rate is shown.",
    ),
    "surveys.rate": (
        "{name}：回答率 {rate}%（95%信頼区間 {low}〜{high}%、ご案内 {n}件）",
        "{name}: response rate {rate}% (95% interval {low}–{high}%, n = {n} invitations)",
    ),
    "surveys.caution": ("・件数が少ないため参考値です", " · few invitations, a rough guide only"),
    "surveys.paused": ("{name}：休止中（{at}から）", "{name}: paused since {at}"),
    "line": ("LINEの送信数（今月）", "LINE messages this month"),
    "line.capped": ("{used}通／上限 {limit}通（残り {left}通）", "{used} of {limit} used, {left} left"),
    "line.open": ("{used}通（上限の設定なし）", "{used} used, no cap is set"),
    "line.unknown": ("LINEに確認できませんでした。", "LINE could not be asked."),
    "digest": ("次のレポート", "Next digest"),
    "digest.none": ("予定はありません。", "None is planned."),
    "health": ("動作状況", "Health"),
    "health.ok": ("正常に動いています。", "All is well."),
    "health.overdue": ("処理待ち：{n}件、最も古い予定は{at}", "Waiting to be done: {n} (the oldest was due {at})"),
    "health.dead": ("送れなかったもの：{n}件", "Given up: {n}"),
    "health.uncertain": ("届いたか分からないもの：{n}件", "Unknown whether delivered: {n}"),
    "health.paused": ("{channel}への送信を、{at}まで止めています。", "Sending to {channel} is paused until {at}"),
    "health.mend": ("管理者は koe doctor で理由を確認できます。", "koe doctor tells the administrator why."),
    "as_of": ("{at}現在", "As of {at}"),
    "start": ("アンケートを送る", "Send a survey"),
    "my_cases": ("ご相談の一覧", "All cases"),
    "preview": ("レポートを見る", "Preview the digest"),
    "refresh": ("更新", "Refresh"),
    "not_staff": (
        "ここはスタッフ用の画面です。アンケートへのご回答は「メッセージ」タブでお願いいたします。",
        "This page is for staff. To answer a survey, please use the Messages tab.",
    ),
    "computing": ("レポートを集計しています。", "The digest is being computed."),
    "no_digest": ("koe.yaml にレポートの設定がありません。", "koe.yaml has no digest."),
    "digest_failed": (
        "レポートを集計できませんでした。少し待って、もう一度お試しください。",
        "The digest could not be computed. Please try again in a moment.",
    ),
    "close": ("閉じる", "Close"),
}  # fmt: skip


def _say(key: str, lang: str, **values: object) -> str:
    ja, en = _TEXTS[key]
    return (en if lang == "en" else ja).format(**values)


def wilson(k: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share in per cent, 0 to 100; n ≥ 1. The same as reports.procedures.share, without the
    libraries that the serving process does not load.

    Source: Wilson 1927.

    >>> tuple(round(bound, 2) for bound in wilson(3, 12))
    (8.89, 53.23)
    """
    z = 1.959963984540054
    middle = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    return max(0.0, 100 * (middle - half)), min(100.0, 100 * (middle + half))


def render_home(facts: HomeFacts, *, viewer: str, lang: str, may: frozenset[Permission], tz: tzinfo) -> JsonObject:
    """The Home of one person: what their permissions (`may`) let them see. Without "staff" one sentence."""
    if "staff" not in may:
        return {"type": "home", "blocks": [kit.words((_say("not_staff", lang), False))]}
    buttons = [
        *([kit.button(_say("start", lang), START, "start", style="primary")] if "trigger" in may else []),
        *([kit.button(_say("my_cases", lang), CASES, "cases")] if "handle_cases" in may else []),
        *([kit.button(_say("preview", lang), DIGEST, "digest")] if "read_comments" in may and facts.digests else []),
        kit.button(_say("refresh", lang), REFRESH, "refresh"),
    ]
    made = [kit.actions(buttons, block_id="koe.home")]
    if "handle_cases" in may:
        named = "read_comments" in may
        made.append(_header(_say("cases", lang)))
        made += _case_blocks(facts, viewer, lang, tz, named=named, most=_CASES_SHOWN)
    made.append(_header(_say("surveys", lang, days=WINDOW_DAYS)))
    reads = "read_comments" in may
    surveys = [_survey_line(survey, lang, reads_answers=reads) for survey in facts.surveys] or [
        _say("surveys.none", lang)
    ]
    surveys += [
        _say("surveys.paused", lang, name=cut(en if lang == "en" else ja, 80), at=time_text(since_ms, lang, tz))
        for ja, en, since_ms in facts.paused
    ]
    made.append(_lines(surveys))
    if facts.budget is not None:
        made += [_header(_say("line", lang)), _lines([_budget_line(facts.budget, lang)])]
    posts = [f"{digest_id}{'：' if lang != 'en' else ': '}{time_text(at, lang, tz)}" for digest_id, at in facts.digests]
    made += [_header(_say("digest", lang)), _lines(posts or [_say("digest.none", lang)])]
    made += [_header(_say("health", lang)), _lines(_health_lines(facts.health, lang, tz))]
    made.append(kit.small_plain(_say("as_of", lang, at=time_text(facts.now_ms, lang, tz))))
    return {"type": "home", "blocks": made}


def render_cases(facts: HomeFacts, *, viewer: str, lang: str, named: bool, tz: tzinfo) -> JsonObject:
    """The window with all open cases, one's own first."""
    body = _case_blocks(facts, viewer, lang, tz, named=named, most=_CASES_LISTED)
    return kit.modal(f"{CASES}.list", _say("cases", lang), body, close=_say("close", lang))


def _case_blocks(facts: HomeFacts, viewer: str, lang: str, tz: tzinfo, *, named: bool, most: int) -> list[JsonObject]:
    if not facts.cases:
        return [_lines([_say("cases.none", lang)])]
    last = 2**62

    def order(case: HomeCase) -> tuple[int, int]:
        rank = 0 if case.assignee == viewer else 1 if not case.assignee else 2
        return rank, case.due_ms if case.due_ms is not None else last

    ordered = sorted(facts.cases, key=order)
    lines = [_case_line(case, facts.now_ms, viewer, lang, tz, named=named) for case in ordered[:most]]
    if len(ordered) > most:
        lines.append(_say("cases.more", lang, n=len(ordered) - most))
    return [_lines(lines)]


def _case_line(case: HomeCase, now_ms: int, viewer: str, lang: str, tz: tzinfo, *, named: bool) -> str:
    if not named:
        who = _say("cases.hidden", lang)
    elif case.customer_name:
        name = cut(case.customer_name, 60)
        who = f"{name} ({case.customer_id})" if lang == "en" else f"{name}様（{case.customer_id}）"
    else:
        who = case.customer_id
    whose = "cases.free" if not case.assignee else "cases.mine" if case.assignee == viewer else "cases.theirs"
    if case.due_ms is None:
        when = _say("cases.since", lang, at=time_text(case.opened_ms, lang, tz))
    else:
        key = "cases.late" if case.due_ms < now_ms else "cases.due"
        when = _say(key, lang, at=time_text(case.due_ms, lang, tz))
    return (" · " if lang == "en" else "・").join((who, when, _say(whose, lang)))


def _survey_line(survey: Running, lang: str, *, reads_answers: bool) -> str:
    name, n, k = cut(survey.en if lang == "en" else survey.ja, 80), survey.invited, survey.answered
    if not survey.shown_to(reads_answers=reads_answers):
        return _say("surveys.few" if n < _FEW else "surveys.few_answers", lang, name=name, n=f"{n:,}")
    low, high = wilson(k, n)
    line = _say(
        "surveys.rate", lang, name=name, rate=f"{100 * k / n:.1f}", low=f"{low:.1f}", high=f"{high:.1f}", n=f"{n:,}"
    )
    return line + (_say("surveys.caution", lang) if n < 30 else "")


def _budget_line(budget: Budget | str, lang: str) -> str:
    if isinstance(budget, str):
        return _say("line.unknown", lang)
    if budget.limit is None:
        return _say("line.open", lang, used=f"{budget.used:,}")
    return _say("line.capped", lang, used=f"{budget.used:,}", limit=f"{budget.limit:,}", left=f"{budget.left:,}")


def _health_lines(health: Health, lang: str, tz: tzinfo) -> list[str]:
    lines = [
        _say(
            "health.paused",
            lang,
            channel={"line": "LINE", "slack": "Slack"}.get(channel, channel),
            at=time_text(until_ms, lang, tz),
        )
        for channel, until_ms in health.paused
    ]
    if health.overdue and health.oldest_due_ms is not None:
        at = time_text(health.oldest_due_ms, lang, tz)
        lines.append(_say("health.overdue", lang, n=f"{health.overdue:,}", at=at))
    if health.dead:
        lines.append(_say("health.dead", lang, n=f"{health.dead:,}"))
    if health.uncertain:
        lines.append(_say("health.uncertain", lang, n=f"{health.uncertain:,}"))
    return [*lines, _say("health.mend", lang)] if lines else [_say("health.ok", lang)]


def _header(text: str) -> JsonObject:
    return {"type": "header", "text": kit.plain_text(text, 150)}


def _lines(lines: Sequence[str]) -> JsonObject:
    return kit.words(("\n".join(lines), False))


_SHOWN: Final[tuple[Permission, ...]] = ("staff", "trigger", "handle_cases", "read_comments")


@dataclass(frozen=True, slots=True)
class _Viewer:
    """Somebody who looked lately: when (loop time), and what they were shown."""

    team_id: str
    looked_s: float
    essence: str


def _essence(view: JsonObject) -> str:
    """What tells two Homes apart: all but the time of day in small print, which is no reason to publish again."""
    shown = [block for block in view["blocks"] if block["type"] != "context"]
    return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()


def digest_buttons(digest_id: str, period: str, before: str, *, every: str, lang: str) -> JsonObject:
    """The buttons of a digest's first message: this one whole, and the one before, for the person who asks."""
    previous = {"week": ("前の週", "Week before"), "month": ("前の月", "Month before")}[every]
    return kit.actions(
        [
            kit.button("詳細" if lang == "ja" else "Details", DETAILS, f"{digest_id}:{period}"),
            kit.button(previous[lang != "ja"], PREVIOUS, f"{digest_id}:{before}"),
        ]
    )


class HomeDesk:
    """Publishes Homes: when one is opened, and again when something has changed for those who looked lately.

    Args:
        call: One Web API call.
        access: Who may see what.
        facts: What there is to show.
        preview: The blocks of a digest ("<id>:<period>", or "" for the newest); None without a digest.
        tz: The shop's time zone.
        failure: The exception of `call`.
        round_s: Seconds between two rounds of publishing after changes.
    """

    def __init__(
        self,
        call: Call,
        *,
        access: Access,
        facts: Callable[[], Awaitable[HomeFacts]],
        preview: Callable[[str], Awaitable[Sequence[JsonObject] | None]],
        tz: tzinfo,
        failure: type[Exception],
        round_s: float = _ROUND_S,
    ) -> None:
        self._call = call
        self._access = access
        self._facts = facts
        self._preview = preview
        self._tz = tz
        self._failure = failure
        self._round_s = round_s
        self._viewers: OrderedDict[str, _Viewer] = OrderedDict()
        self._stale = False
        self._running: set[asyncio.Task[None]] = set()
        self._round: asyncio.Task[None] | None = None

    # -------------------- what is opened

    def opened(self, event: Mapping[str, Any], *, team_id: str) -> None:
        """Somebody opened the Home: it is published beside the acknowledgement."""
        if event.get("tab", "home") == "home" and isinstance(event.get("user"), str):
            self._go(self.publish(event["user"], team_id=team_id))

    async def publish(self, user_id: str, *, team_id: str = "") -> None:
        """Show this person their Home as things stand. People who are no members get the refusal in its place."""
        await self._put(user_id, team_id, await self._view_of(user_id, team_id, await self._facts()))

    async def _view_of(self, user_id: str, team_id: str, facts: HomeFacts) -> JsonObject:
        person, refused = await self._access.check("member", user_id, team_id=team_id)
        if refused is not None:
            return {"type": "home", "blocks": [kit.words((refused.sentence, False))]}
        may = frozenset([one for one in _SHOWN if await self._access.may(one, user_id, team_id=team_id)])
        return render_home(facts, viewer=user_id, lang=person.lang, may=may, tz=self._tz)

    async def _put(self, user_id: str, team_id: str, view: JsonObject) -> None:
        await self._call("views.publish", {"user_id": user_id, "view": view}, repeatable=True)
        self._viewers[user_id] = _Viewer(team_id, asyncio.get_running_loop().time(), _essence(view))
        self._viewers.move_to_end(user_id)
        while len(self._viewers) > _VIEWERS:
            self._viewers.popitem(last=False)

    # -------------------- what changes

    def changed(self) -> None:
        """Something a Home shows may be different: whoever looked within the hour sees it soon. Cheap, and never more
        than one round in `round_s` seconds."""
        if self._viewers:
            self._stale = True
            if self._round is None or self._round.done():
                self._round = self._go(self._keep_up())

    async def _keep_up(self) -> None:
        while self._stale:
            await asyncio.sleep(self._round_s)
            self._stale = False
            facts = await self._facts()
            for user_id, viewer in list(self._viewers.items()):
                if asyncio.get_running_loop().time() - viewer.looked_s > _VIEWED_S:
                    del self._viewers[user_id]
                    continue
                view = await self._view_of(user_id, viewer.team_id, facts)
                if _essence(view) != viewer.essence:
                    await self._call("views.publish", {"user_id": user_id, "view": view}, repeatable=True)
                    self._viewers[user_id] = replace(viewer, essence=_essence(view))

    def _go(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(self._kept(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _kept(self, work: Awaitable[None]) -> None:
        try:
            await work
        except self._failure as failed:
            log.warning("slack_home_not_published", reason=str(failed))
        except Exception:
            log.exception("slack_home_failed")

    async def stop(self) -> None:
        """End what is being published."""
        for task in tuple(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(tuple(self._running), timeout=2)

    # -------------------- its buttons

    async def refresh(self, body: Mapping[str, Any], person: Person) -> None:
        """The button that publishes the Home anew."""
        await self.publish(person.id, team_id=acting_person(body)[1])

    async def list_cases(self, body: Mapping[str, Any], person: Person) -> None:
        """The button that lists all open cases in a window."""
        named = await self._access.may("read_comments", person.id, team_id=acting_person(body)[1])
        view = render_cases(await self._facts(), viewer=person.id, lang=person.lang, named=named, tz=self._tz)
        await self._call("views.open", {"trigger_id": body.get("trigger_id"), "view": view})

    async def show_digest(self, body: Mapping[str, Any], person: Person) -> None:
        """The buttons that show a digest to this person alone – the newest from App Home; that of a message, or the one
        before it, from there: a window at once, its content when it is there."""
        clicked = (body.get("actions") or [{}])[0]
        wish = str(clicked.get("value") or "") if clicked.get("action_id") != DIGEST else ""
        lang = person.lang
        waiting = self._digest_view([kit.words((_say("computing", lang), False))], lang)
        opened = await self._call("views.open", {"trigger_id": body.get("trigger_id"), "view": waiting})
        try:
            computed = await self._preview(wish)
        except Exception:
            log.exception("digest_preview_failed")
            shown = [kit.words((_say("digest_failed", lang), False))]
        else:
            shown = [block for block in computed or () if block.get("type") in _IN_A_WINDOW][:_BLOCKS]
            shown = shown or [kit.words((_say("no_digest", lang), False))]
        view_id = (opened.get("view") or {}).get("id")
        view = self._digest_view(shown, lang)
        await self._call("views.update", {"view_id": view_id, "view": view}, repeatable=True)

    def _digest_view(self, blocks: Sequence[JsonObject], lang: str) -> JsonObject:
        return kit.modal(f"{DIGEST}.shown", _say("preview", lang), blocks, close=_say("close", lang))
