"""`/survey`: a member of staff asks one customer. The window, its checks, and why a survey may not be
sent, in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any, Final

from bot.channel import JsonObject
from bot.slack import blocks as kit
from bot.slack.words import cut, storable
from bot.staff.access import acting_person
from bot.staff.people import Call, Person

COMMAND: Final = "/survey"
START: Final = "koe.start"
"""Callback id of the global shortcut that opens the window."""
SURVEY_VIEW: Final = "koe.survey"
"""Callback id of the window."""

_NOTE_LIMIT = 500
_NAMED_LIMIT = 100
_AHEAD_MS = 120 * 86_400_000
_OFFERED = 5


@dataclass(frozen=True, slots=True)
class FlowOption:
    """A survey that staff can start."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class CustomerHit:
    """A customer found by id, name or order number."""

    id: str
    name: str
    last_invited_ms: int | None = None


@dataclass(frozen=True, slots=True)
class SurveyRequest:
    """What a member of staff asked for."""

    request_id: str
    """The same however often one window is sent with the same wish: it is one survey, or one refusal. Another customer,
    survey or time in that window is another wish."""
    flow_id: str
    customer_id: str
    at_ms: int | None
    """None: now."""
    note: str
    requested_by: str
    """Slack user id."""
    workspace: str


@dataclass(frozen=True, slots=True)
class Started:
    """The survey is on its way. `channel` is "line", "slack" or "" when not said."""

    channel: str = ""


@dataclass(frozen=True, slots=True)
class Planned:
    """The survey goes out at `due_ms` (asked for, or the end of quiet hours)."""

    due_ms: int
    channel: str = ""


@dataclass(frozen=True, slots=True)
class NotAllowed:
    """It may not be sent. `reason` is a code of the contact cap or of the look-up; `days` the limit it
    names."""

    reason: str
    allowed_from_ms: int | None = None
    days: int | None = None


@dataclass(frozen=True, slots=True)
class SurveyPorts:
    """What `/survey` needs of the rest.

    Attributes:
        flows: The surveys on offer in a language, first the most usual.
        find: Customers by id, name or order number, best first; an exact id or order number comes alone.
        may_send: Why this survey may not be sent now; None when it may. Changes nothing.
        start: Start it, if it may.
    """

    flows: Callable[[str], Sequence[FlowOption]]
    find: Callable[[str], Awaitable[Sequence[CustomerHit]]]
    may_send: Callable[[SurveyRequest], Awaitable[NotAllowed | None]]
    start: Callable[[SurveyRequest], Awaitable[Started | Planned | NotAllowed]]


_TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "title": ("アンケートを送る", "Send a survey"),
    "send": ("送る", "Send"),
    "cancel": ("やめる", "Cancel"),
    "close": ("閉じる", "Close"),
    "flow": ("アンケート", "Survey"),
    "customer": ("お客さま", "Customer"),
    "customer.hint": (
        "お客さま番号、お名前、注文番号のいずれか。Enterで、送れるかどうかを確かめられます。",
        "Customer id, name or order number. Press Enter to check whether it may be sent.",
    ),
    "when": ("送る日時（空欄なら今すぐ）", "When (leave empty for now)"),
    "note": ("メモ（社内用）", "Note (for the team)"),
    "no_flows": ("送れるアンケートがありません。", "There are no surveys to send."),
    "unfound": (
        "お客さまが見つかりません。番号かお名前をお確かめください。",
        "No such customer. Please check the id or name.",
    ),
    "several": (
        "該当するお客さまが複数います。お客さま番号でご指定ください：{who}",
        "Several customers match. Please use the customer id: {who}",
    ),
    "past": ("過去の日時です。", "This time has passed."),
    "far": ("120日より先の日時です。", "This is more than 120 days ahead."),
    "missing": ("お選びください。", "Please choose."),
    "started": ("{who}に{via}「{flow}」をお送りします。", "“{flow}” is on its way to {who}{via}."),
    "planned": (
        "{who}に{at}、{via}「{flow}」をお送りします。",
        "“{flow}” will be sent to {who}{via} on {at}.",
    ),
    "last": ("最後のご案内：{days}日前（{date}）", "Last invited {days} days ago ({date})"),
    "today": ("最後のご案内：今日", "Last invited today"),
    "never": ("これまでのご案内はありません。", "Never invited so far."),
    "ok": ("送れます。", "It may be sent."),
    "from": ("（次は{date}以降）", " (from {date})"),
    "help": (
        "`/survey` お客さまを選んで、アンケートを送ります。\n`/survey help` この説明を表示します。",
        "`/survey` choose a customer and send a survey.\n`/survey help` show this.",
    ),
}
_REASONS: Final[Mapping[str, tuple[str, str]]] = {
    "opted_out": ("アンケートの停止を希望されています。", "This customer has stopped surveys."),
    "blocked": ("アカウントがブロックされているため、届きません。", "The customer has blocked the account."),
    "open_case": ("対応中のご相談があるため、送れません。", "The customer has an open case."),
    "open_ticket": (
        "解決していないお問い合わせがあるため、送れません。",
        "The customer has an open enquiry.",
    ),
    "after_complaint": (
        "ご不満をいただいた直後のため、送れません。",
        "The customer complained only recently.",
    ),
    "quiet_hours": (
        "お送りできる時間帯ではありません。",
        "It is outside the hours in which surveys may be sent.",
    ),
    "same_event": (
        "同じご注文・お問い合わせについて、すでにうかがっています。",
        "The customer was already asked about this.",
    ),
    "min_gap": (
        "前回のご案内から{days}日たっていません。",
        "Less than {days} days have passed since the last survey.",
    ),
    "per_year": ("この1年のご案内が上限に達しています。", "The limit of surveys within a year is reached."),
    "relational_gap": (
        "全体についてのアンケートから{days}日たっていません。",
        "Less than {days} days have passed since the overall survey.",
    ),
    "relational_ahead": (
        "まもなく全体についてのアンケートをお送りする予定です。",
        "The overall survey is due to be sent soon.",
    ),
    "touchpoint_gap": (
        "同じ場面のアンケートから{days}日たっていません。",
        "Less than {days} days have passed since a survey of this kind.",
    ),
    "sampled_out": ("今回は抽出の対象外です。", "The customer is not in this sample."),
    "unreachable": (
        "LINEにもSlackにもつながっていないため、送れません。",
        "The customer is connected to neither LINE nor Slack.",
    ),
    "expired": ("ご案内の期限を過ぎています。", "The invitation would come too late."),
    "unknown_flow": ("このアンケートは、もうありません。", "This survey no longer exists."),
    "unknown_customer": (
        "お客さまが見つかりません。番号かお名前をお確かめください。",
        "No such customer. Please check the id or name.",
    ),
}
_DAYS: Final[Mapping[str, int]] = {"min_gap": 14, "relational_gap": 90, "touchpoint_gap": 30}
_VIA: Final[Mapping[str, tuple[str, str]]] = {
    "line": ("LINEで", " on LINE"),
    "slack": ("Slackで", " on Slack"),
    "": ("", ""),
}
_UNSAID = ("いまは送れません。", "It may not be sent now.")


def _say(key: str, lang: str, **values: object) -> str:
    ja, en = _TEXTS[key]
    return (en if lang == "en" else ja).format(**values)


def reason_text(refused: NotAllowed, lang: str, tz: tzinfo) -> str:
    """Why a survey may not be sent, and from when it may.

    >>> from zoneinfo import ZoneInfo
    >>> reason_text(NotAllowed("min_gap", 1_796_000_400_000, 14), "ja", ZoneInfo("Asia/Tokyo"))
    '前回のご案内から14日たっていません（次は11/30（月）以降）。'
    """
    ja, en = _REASONS.get(refused.reason, _UNSAID)
    days = refused.days or _DAYS.get(refused.reason, 0)
    sentence = (en if lang == "en" else ja).format(days=days)
    if refused.allowed_from_ms is None:
        return sentence
    stop = "." if lang == "en" else "。"
    return sentence.removesuffix(stop) + _say("from", lang, date=day_text(refused.allowed_from_ms, lang, tz)) + stop


def day_text(at_ms: int, lang: str, tz: tzinfo) -> str:
    """A day for staff: 「11/24（火）」, "Tue 24 Nov"."""
    day = datetime.fromtimestamp(at_ms / 1000, tz)
    if lang == "en":
        return f"{_WEEKDAYS_EN[day.weekday()]} {day.day} {_MONTHS[day.month - 1]}"
    return f"{day.month}/{day.day}（{_WEEKDAYS_JA[day.weekday()]}）"


def time_text(at_ms: int, lang: str, tz: tzinfo) -> str:
    """A time for staff: 「11/24（火）18:00」, "Tue 24 Nov 18:00"."""
    at = datetime.fromtimestamp(at_ms / 1000, tz)
    return f"{day_text(at_ms, lang, tz)}{' ' if lang == 'en' else ''}{at:%H:%M}"


_WEEKDAYS_JA = "月火水木金土日"
_WEEKDAYS_EN = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def who_text(customer: CustomerHit, lang: str) -> str:
    """A customer for staff: 「田中様（C001）」, "Tanaka (C001)"; the id alone when nobody knows a name."""
    if not customer.name:
        return customer.id
    return f"{customer.name} ({customer.id})" if lang == "en" else f"{customer.name}様（{customer.id}）"


def render_survey_view(
    flows: Sequence[FlowOption], *, lang: str, private: str, standing: str = "", now_ms: int | None = None
) -> JsonObject:
    """The window of `/survey`; `standing` is what is known about the customer named so far.

    Without a flow to offer the window says so and has nothing to send.
    """
    if not flows:
        note = kit.words((_say("no_flows", lang), False))
        return kit.modal(SURVEY_VIEW, _say("title", lang), [note], close=_say("close", lang), private=private)
    options = [kit.option(flow.name or flow.id, flow.id) for flow in flows[:100]]
    picker: JsonObject = {
        "type": "static_select",
        "action_id": "flow",
        "options": options,
        "initial_option": options[0],
    }
    customer = kit.text_input(
        "customer",
        _say("customer", lang),
        limit=_NAMED_LIMIT,
        hint=_say("customer.hint", lang),
        dispatch=True,
    )
    at: JsonObject = {"type": "datetimepicker", "action_id": "when"}
    body = [
        kit.field("flow", _say("flow", lang), picker),
        customer,
        *([kit.small_plain(standing)] if standing else []),
        kit.field("when", _say("when", lang), at, optional=True),
        kit.text_input("note", _say("note", lang), limit=_NOTE_LIMIT, multiline=True, optional=True),
    ]
    return kit.modal(
        SURVEY_VIEW,
        _say("title", lang),
        body,
        close=_say("cancel", lang),
        submit=_say("send", lang),
        private=private,
    )


def _result_view(sentence: str, lang: str) -> JsonObject:
    return kit.modal(
        f"{SURVEY_VIEW}.result",
        _say("title", lang),
        [kit.words((sentence, False))],
        close=_say("close", lang),
    )


class SurveyDesk:
    """Answers `/survey` and its window, for people whose permission was checked (bot.staff.access).

    Args:
        call: One Web API call.
        ports: The rest of the product.
        tz: The shop's time zone, for dates in sentences.
        now_ms: Koe's clock.
    """

    def __init__(
        self,
        call: Call,
        *,
        ports: SurveyPorts,
        tz: tzinfo,
        now_ms: Callable[[], int],
    ) -> None:
        self._call = call
        self._ports = ports
        self._tz = tz
        self._now_ms = now_ms

    def help_text(self, lang: str) -> str:
        """What can be typed."""
        return _say("help", lang)

    async def command(self, body: Mapping[str, Any], person: Person) -> str:
        """The sentence to answer `/survey …` (or the shortcut, which has no words) with; "" when the window was opened
        instead."""
        if str(body.get("text") or "").strip():
            return self.help_text(person.lang)
        private = json.dumps({"lang": person.lang})
        view = render_survey_view(self._ports.flows(person.lang), lang=person.lang, private=private)
        await self._call("views.open", {"trigger_id": str(body.get("trigger_id", "")), "view": view})
        return ""

    async def submitted(self, body: Mapping[str, Any], person: Person) -> JsonObject:
        """How the window answers "send": errors beside the fields, or what will happen."""
        (user_id, team_id), lang = acting_person(body), person.lang
        values = _values(body)
        flow_id, named, at_ms, note = values.flow_id, values.customer, values.at_ms, values.note
        if not flow_id:
            return _errors(flow=_say("missing", lang))
        if at_ms is not None and at_ms < self._now_ms() - 60_000:
            return _errors(when=_say("past", lang))
        if at_ms is not None and at_ms > self._now_ms() + _AHEAD_MS:
            return _errors(when=_say("far", lang))
        customer = await self._one_customer(named, lang)
        if isinstance(customer, str):
            return _errors(customer=customer)
        view = _dict(body.get("view"))
        request = SurveyRequest(
            request_id=_request_id(team_id, view, flow_id, customer.id, at_ms),
            flow_id=flow_id,
            customer_id=customer.id,
            at_ms=at_ms,
            note=note,
            requested_by=user_id,
            workspace=team_id,
        )
        flow = next((flow.name for flow in self._ports.flows(lang) if flow.id == flow_id), flow_id)
        words = {"who": who_text(customer, lang), "flow": flow}
        match await self._ports.start(request):
            case NotAllowed(reason="unknown_flow") as refused:
                return _errors(flow=reason_text(refused, lang, self._tz))
            case NotAllowed() as refused:
                return _errors(customer=reason_text(refused, lang, self._tz))
            case Planned(due_ms=due_ms, channel=channel) if due_ms > self._now_ms():
                at = time_text(due_ms, lang, self._tz)
                sentence = _say("planned", lang, **words, at=at, via=_via(channel, lang))
            case Planned(channel=channel) | Started(channel=channel):
                sentence = _say("started", lang, **words, via=_via(channel, lang))
        return {"response_action": "update", "view": _result_view(sentence, lang)}

    async def named(self, body: Mapping[str, Any], person: Person) -> None:
        """Somebody pressed Enter in the customer's field: the window shows who it is and whether it may be
        sent."""
        (user_id, team_id), lang = acting_person(body), person.lang
        values, view = _values(body), _dict(body.get("view"))
        customer = await self._one_customer(values.customer or _dispatched(body), lang)
        if isinstance(customer, str):
            standing = customer
        else:
            request = SurveyRequest(
                request_id=_request_id(team_id, view, values.flow_id, customer.id, values.at_ms),
                flow_id=values.flow_id,
                customer_id=customer.id,
                at_ms=values.at_ms,
                note="",
                requested_by=user_id,
                workspace=team_id,
            )
            refused = await self._ports.may_send(request)
            verdict = _say("ok", lang) if refused is None else reason_text(refused, lang, self._tz)
            parts = (who_text(customer, lang), self._last_text(customer, lang), verdict)
            standing = (" · " if lang == "en" else "・").join(parts)
        again = render_survey_view(
            self._ports.flows(lang), lang=lang, private=json.dumps({"lang": lang}), standing=standing
        )
        await self._call("views.update", {"view_id": view.get("id"), "hash": view.get("hash"), "view": again})

    def _last_text(self, customer: CustomerHit, lang: str) -> str:
        if customer.last_invited_ms is None:
            return _say("never", lang)
        days = max(0, (self._now_ms() - customer.last_invited_ms) // 86_400_000)
        if days == 0:
            return _say("today", lang)
        return _say("last", lang, days=days, date=day_text(customer.last_invited_ms, lang, self._tz))

    async def _one_customer(self, named: str, lang: str) -> CustomerHit | str:
        """The customer that was named, or the sentence that asks for a better name."""
        if not named:
            return _say("missing", lang)
        found = await self._ports.find(named)
        exact = [hit for hit in found if hit.id == named]
        if len(exact) == 1:
            return exact[0]
        if not found:
            return _say("unfound", lang)
        if len(found) > 1:
            comma = ", " if lang == "en" else "、"
            return cut(_say("several", lang, who=comma.join(who_text(hit, lang) for hit in found[:_OFFERED])), 500)
        return found[0]


@dataclass(frozen=True, slots=True)
class _Values:
    flow_id: str
    customer: str
    at_ms: int | None
    note: str


def _values(body: Mapping[str, Any]) -> _Values:
    """What stands in the window. Submissions are outside data: keys may be missing, values null or too
    long."""
    values = _dict(_dict(_dict(body.get("view")).get("state")).get("values"))

    def entry(name: str) -> dict[str, Any]:
        return _dict(_dict(values.get(name)).get(name))

    chosen = _dict(entry("flow").get("selected_option")).get("value")
    at_s = entry("when").get("selected_date_time")
    return _Values(
        flow_id=chosen if isinstance(chosen, str) else "",
        customer=_words(entry("customer").get("value"), _NAMED_LIMIT),
        at_ms=at_s * 1000 if isinstance(at_s, int) and 0 < at_s < 10**11 else None,
        note=_words(entry("note").get("value"), _NOTE_LIMIT),
    )


def _request_id(team_id: str, view: Mapping[str, Any], flow_id: str, customer_id: str, at_ms: int | None) -> str:
    wish = json.dumps([team_id, view.get("id"), flow_id, customer_id, at_ms])
    return f"survey:{hashlib.sha256(wish.encode()).hexdigest()[:32]}"


def _dispatched(body: Mapping[str, Any]) -> str:
    actions = body.get("actions")
    first = actions[0] if isinstance(actions, list) and actions else {}
    return _words(_dict(first).get("value"), _NAMED_LIMIT)


def _words(value: object, limit: int) -> str:
    return storable(value).strip()[:limit] if isinstance(value, str) else ""


def _via(channel: str, lang: str) -> str:
    ja, en = _VIA.get(channel, ("", ""))
    return en if lang == "en" else ja


def _errors(**sentences: str) -> JsonObject:
    return {"response_action": "errors", "errors": sentences}


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
