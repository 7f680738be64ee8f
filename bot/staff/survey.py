"""`/survey`: a member of staff asks one customer. The window and its checks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import Any, Final

import structlog

from bot.channel import JsonObject
from bot.slack import blocks as kit
from bot.slack.words import cut, plain, storable
from bot.staff.access import Access, acting_person, window_language, window_private
from bot.staff.asking import (
    Budget,
    CustomerHit,
    Eligibility,
    FlowOption,
    NotAllowed,
    Planned,
    Started,
    SurveyPorts,
    SurveyRequest,
)
from bot.staff.people import Call, Person
from bot.staff.reasons import day_text, reason_text, time_text, who_text
from flows.triggers import RULES

log = structlog.get_logger(__name__)

COMMAND: Final = "/survey"
START: Final = "koe.start"
"""Callback id of the global shortcut that opens the window."""
ABOUT: Final = "koe.about"
"""Callback id of the shortcut on a message that opens it about that message."""
CUSTOMER: Final = "customer"
"""Action id of the field that searches customers."""
SURVEY_VIEW: Final = "koe.survey"
"""Callback id of the window."""

_NOTE_LIMIT = 500
_NAMED_LIMIT = 100
_AHEAD_MS = 120 * 86_400_000
_OFFERED = 20
_VALUE_LIMIT = 75


_TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "title": ("アンケートを送る", "Send a survey"),
    "send": ("送る", "Send"),
    "cancel": ("やめる", "Cancel"),
    "close": ("閉じる", "Close"),
    "flow": ("アンケート", "Survey"),
    "customer": ("お客さま", "Customer"),
    "customer.hint": (
        "お客さま番号、お名前、注文番号のいずれかを入力して、お選びください。送れるかどうかが表示されます。",
        "Type a customer id, name or order number and choose. Whether it may be sent is then shown.",
    ),
    "customer.search": ("番号・お名前・注文番号", "Id, name or order number"),
    "channel": ("送り先", "Where"),
    "channel.any": ("つながっているほう（LINEを優先）", "Where the customer is (LINE first)"),
    "channel.line": ("LINE", "LINE"),
    "channel.slack": ("Slack", "Slack"),
    "override": ("それでも送る理由", "Send anyway, because"),
    "override.hint": (
        "空欄なら送りません。理由は記録に残ります。停止を希望された方、ブロックされた方には、理由があっても送れません。",
        "Left empty, it is not sent. The reason is kept in the audit. Nobody who stopped surveys or blocked the "
        "account is ever sent one.",
    ),
    "override.not": (
        "この理由で送ることはできません。",
        "This cannot be overridden.",
    ),
    "when": ("送る日時", "When"),
    "when.hint": ("空欄なら、今すぐ送ります。", "Left empty, it is sent now."),
    "note": ("社内メモ", "Team note"),
    "no_flows": ("送れるアンケートがありません。", "There are no surveys to send."),
    "unfound": (
        "お客さまが見つかりません。番号かお名前をお確かめください。",
        "No such customer. Please check the id or name.",
    ),
    "several": (
        "番号の似たお客さまが複数います：{who}",
        "Several customers have ids like this: {who}",
    ),
    "past": ("過去の日時です。", "This time has passed."),
    "far": ("120日より先の日時です。", "This is more than 120 days ahead."),
    "missing": ("お選びください。", "Please choose."),
    "started": ("{who}に{via}「{flow}」をお送りします。", "“{flow}” is on its way to {who}{via}."),
    "planned": (
        "{who}に{at}、{via}「{flow}」をお送りします。",
        "“{flow}” will be sent to {who}{via} on {at}.",
    ),
    "last": ("最後のご案内：{date}、{days}日前", "Last invited: {date}, {days} days ago"),
    "today": ("最後のご案内：今日", "Last invited: today"),
    "never": ("最後のご案内：なし", "Last invited: never"),
    "year": ("この1年のご案内：{n}回（上限 {most}回）", "Invitations within a year: {n} (limit {most})"),
    "year.open": ("この1年のご案内：{n}回", "Invitations within a year: {n}"),
    "opted_out": ("アンケートの停止：{yes}", "Stopped surveys: {yes}"),
    "open_case": ("対応中のご相談：{yes}", "Open case: {yes}"),
    "yes": ("あり", "yes"),
    "no": ("なし", "no"),
    "hours.now": ("時間帯：送れる時間です", "Hours: open"),
    "hours.later": ("時間帯：{at}にお送りします", "Hours: it goes out on {at}"),
    "line.left": (
        "LINE通数：今月の残り {left}通（このアンケートで1通）",
        "LINE messages left: {left} (this takes one)",
    ),
    "line.open": ("LINE通数：今月 {used}通（上限の設定なし）", "LINE messages this month: {used}, no cap is set"),
    "line.unknown": ("LINE通数：確認できませんでした", "LINE messages: LINE could not be asked"),
    "ok": ("送れます。", "It may be sent."),
    "not": ("送れません。", "It may not be sent."),
    "rule": ("送れません（ルール{n}）。", "It may not be sent (rule {n})."),
}
_VIA: Final[Mapping[str, tuple[str, str]]] = {
    "line": ("LINEで", " on LINE"),
    "slack": ("Slackで", " on Slack"),
    "": ("", ""),
}


def _say(key: str, lang: str, **values: object) -> str:
    ja, en = _TEXTS[key]
    return (en if lang == "en" else ja).format(**values)


def render_survey_view(
    flows: Sequence[FlowOption],
    *,
    lang: str,
    channels: Sequence[str] = ("line", "slack"),
    card: Sequence[str] = (),
    override: bool = False,
    customer: CustomerHit | None = None,
    note: str = "",
) -> JsonObject:
    """The window of `/survey`. Without a flow to offer it says so and has nothing to send.

    Args:
        card: How things stand with the customer who was chosen: the verdict, then a line each.
        override: Ask for a reason to send it all the same.
        customer: Chosen to begin with.
        note: Written to begin with.
    """
    if not flows:
        nothing = kit.words((_say("no_flows", lang), False))
        return kit.modal(SURVEY_VIEW, _say("title", lang), [nothing], close=_say("close", lang))
    options = [kit.option(flow.name or flow.id, flow.id) for flow in flows[:100]]
    picker: JsonObject = {
        "type": "static_select",
        "action_id": "flow",
        "options": options,
        "initial_option": options[0],
    }
    search: JsonObject = {
        "type": "external_select",
        "action_id": CUSTOMER,
        "min_query_length": 1,
        "placeholder": kit.plain_text(_say("customer.search", lang), 150),
    }
    if customer is not None:
        search["initial_option"] = customer_option(customer, lang)
    ways = [kit.option(_say(f"channel.{way}", lang), way) for way in ("any", *channels)]
    where: JsonObject = {
        "type": "static_select",
        "action_id": "channel",
        "options": ways,
        "initial_option": ways[0],
    }
    at: JsonObject = {"type": "datetimepicker", "action_id": "when"}
    standing = [kit.words((card[0], True), ("\n" + "\n".join(card[1:]), False))] if card else []
    reason = kit.text_input(
        "override",
        _say("override", lang),
        limit=_NOTE_LIMIT,
        optional=True,
        hint=_say("override.hint", lang),
    )
    body = [
        kit.field("flow", _say("flow", lang), picker, dispatch=True),
        kit.field(CUSTOMER, _say("customer", lang), search, hint=_say("customer.hint", lang), dispatch=True),
        *standing,
        *([reason] if override else []),
        *([kit.field("channel", _say("channel", lang), where, dispatch=True)] if len(channels) > 1 else []),
        kit.field("when", _say("when", lang), at, hint=_say("when.hint", lang), optional=True, dispatch=True),
        kit.text_input("note", _say("note", lang), limit=_NOTE_LIMIT, multiline=True, optional=True, initial=note),
    ]
    return kit.modal(
        SURVEY_VIEW,
        _say("title", lang),
        body,
        close=_say("cancel", lang),
        submit=_say("send", lang),
        private=window_private(lang),
    )


def customer_option(customer: CustomerHit, lang: str) -> JsonObject:
    """A customer to choose. Slack brings back 75 characters: of a longer id its beginning."""
    name = cut(customer.name, 30)
    return kit.option(who_text(CustomerHit(cut(customer.id, 40), name), lang), cut(customer.id, _VALUE_LIMIT))


def card_lines(found: Eligibility, *, budget: Budget | str | None, lang: str, tz: tzinfo, now_ms: int) -> list[str]:
    """The eligibility card: the verdict, who it is, and what it rests on, a line each."""

    def yes(flag: bool) -> str:
        return _say("yes" if flag else "no", lang)

    if found.refused is None:
        verdict = [_say("ok", lang)]
    else:
        rule = RULES.get(found.refused.reason)
        verdict = [_say("not", lang) if rule is None else _say("rule", lang, n=rule)]
        verdict.append(reason_text(found.refused, lang, tz))
    comma = " · " if lang == "en" else "・"
    year = _say("year.open" if found.per_year is None else "year", lang, n=found.invited_365d, most=found.per_year)
    flags = (_say("opted_out", lang, yes=yes(found.opted_out)), _say("open_case", lang, yes=yes(found.open_case)))
    later = found.opens_ms > found.due_ms
    lines = [
        *verdict,
        who_text(CustomerHit(cut(found.customer.id, 80), cut(found.customer.name, 80)), lang),
        _last_text(found.last_invited_ms, lang, tz, now_ms),
        year,
        comma.join(flags),
        _say("hours.later", lang, at=time_text(found.opens_ms, lang, tz)) if later else _say("hours.now", lang),
    ]
    if found.channel == "line" and budget is not None:
        lines.append(_budget_text(budget, lang))
    return lines


def _last_text(last_invited_ms: int | None, lang: str, tz: tzinfo, now_ms: int) -> str:
    if last_invited_ms is None:
        return _say("never", lang)
    day, today = (datetime.fromtimestamp(at / 1000, tz).date() for at in (last_invited_ms, now_ms))
    if (days := (today - day).days) <= 0:
        return _say("today", lang)
    return _say("last", lang, days=days, date=day_text(last_invited_ms, lang, tz))


def _budget_text(budget: Budget | str, lang: str) -> str:
    if isinstance(budget, str):
        return _say("line.unknown", lang)
    if budget.left is None:
        return _say("line.open", lang, used=f"{budget.used:,}")
    return _say("line.left", lang, left=f"{budget.left:,}")


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
        failure: The exception of `call`.
        access: Who may send past the contact cap.
        ports: The rest of the product.
        tz: The shop's time zone, for dates in sentences.
        now_ms: Koe's clock.
    """

    def __init__(
        self,
        call: Call,
        *,
        failure: type[Exception],
        access: Access,
        ports: SurveyPorts,
        tz: tzinfo,
        now_ms: Callable[[], int],
    ) -> None:
        self._call = call
        self._failure = failure
        self._access = access
        self._ports = ports
        self._tz = tz
        self._now_ms = now_ms

    async def open(self, body: Mapping[str, Any], person: Person) -> None:
        """Open the window, for the command without a word, the shortcut and the button of App Home."""
        await self._open(body, self._render(person.lang))

    async def open_about(self, body: Mapping[str, Any], person: Person) -> None:
        """Open the window about a message: its words are the note, and the customer whose number they name is chosen.
        The words stay words."""
        message = body.get("message")
        words = storable(plain(_text_of(message))).strip() if isinstance(message, dict) else ""
        named = await self._ports.recognise(words) if words else None
        note = cut(" ".join(words.split()), _NOTE_LIMIT)
        if named is None:
            await self._open(body, self._render(person.lang, note=note))
            return
        flows = self._ports.flows(person.lang)
        asked = _Values(flows[0].id if flows else "", named.id, "", None, "", "")
        card, override = await self._standing(asked, named, body, person)
        await self._open(body, self._render(person.lang, card=card, override=override, customer=named, note=note))

    async def _open(self, body: Mapping[str, Any], view: JsonObject) -> None:
        await self._call("views.open", {"trigger_id": str(body.get("trigger_id", "")), "view": view})

    def _render(
        self,
        lang: str,
        *,
        card: Sequence[str] = (),
        override: bool = False,
        customer: CustomerHit | None = None,
        note: str = "",
    ) -> JsonObject:
        return render_survey_view(
            self._ports.flows(lang),
            lang=lang,
            channels=self._ports.channels,
            card=card,
            override=override,
            customer=customer,
            note=note,
        )

    async def suggested(self, body: Mapping[str, Any], person: Person) -> list[JsonObject]:
        """The customers to choose from for what was typed so far."""
        words = _words(body.get("value"), _NAMED_LIMIT)
        found = await self._ports.find(words) if words else ()
        return [customer_option(hit, person.lang) for hit in found[:_OFFERED]]

    async def submitted(self, body: Mapping[str, Any], person: Person) -> JsonObject:
        """How the window answers "send": errors beside the fields, what speaks against it, or what will happen. What
        will happen is stored by then, and no platform was waited for."""
        lang, values = person.lang, _values(body)
        if not values.flow_id:
            return _errors(flow=_say("missing", lang))
        if values.at_ms is not None and values.at_ms < self._now_ms() - 60_000:
            return _errors(when=_say("past", lang))
        if values.at_ms is not None and values.at_ms > self._now_ms() + _AHEAD_MS:
            return _errors(when=_say("far", lang))
        customer = await self._one_customer(values.customer, lang)
        if isinstance(customer, str):
            return _errors(customer=customer)
        if values.override and (refused := await self._may_not_override(body)):
            return _errors(override=refused)
        request = _request(body, values, customer.id)
        flow = next((flow.name for flow in self._ports.flows(lang) if flow.id == values.flow_id), values.flow_id)
        words = {"who": who_text(customer, lang), "flow": flow}
        match await self._ports.start(request):
            case NotAllowed(reason="unknown_flow") as refusal:
                return _errors(flow=reason_text(refusal, lang, self._tz))
            case NotAllowed() as refusal:
                return await self._refused(refusal, values, customer, body, person)
            case Planned(due_ms=due_ms, channel=channel) if due_ms > self._now_ms():
                at = time_text(due_ms, lang, self._tz)
                sentence = _say("planned", lang, **words, at=at, via=_via(channel, lang))
            case Planned(channel=channel) | Started(channel=channel):
                sentence = _say("started", lang, **words, via=_via(channel, lang))
        return {"response_action": "update", "view": _result_view(sentence, lang)}

    async def _refused(
        self,
        refusal: NotAllowed,
        values: _Values,
        customer: CustomerHit,
        body: Mapping[str, Any],
        person: Person,
    ) -> JsonObject:
        """The window after a refusal: with a field for a reason where this person may overrule it and has not tried."""
        sentence = reason_text(refusal, person.lang, self._tz)
        if values.override:
            stop = " " if person.lang == "en" else ""
            return _errors(override=f"{_say('override.not', person.lang)}{stop}{sentence}")
        card, override = await self._standing(values, customer, body, person, waiting=False)
        shown = {block.get("block_id") for block in _dict(body.get("view")).get("blocks") or () if _dict(block)}
        if not override or "override" in shown:
            return _errors(customer=sentence)
        return {"response_action": "update", "view": self._render(person.lang, card=card, override=True)}

    async def _may_not_override(self, body: Mapping[str, Any]) -> str:
        """The sentence that refuses a reason; "" when this person may overrule the contact cap. By what is known: a
        window waits for its acknowledgement."""
        user_id, team_id = acting_person(body)
        _, refused = await self._access.check_now(
            "override", user_id, team_id=team_id, way="view:koe.survey.override", lang=window_language(body)
        )
        return "" if refused is None else refused.sentence

    async def changed(self, body: Mapping[str, Any], person: Person) -> None:
        """Something was chosen in the window: it shows who the customer is and whether it may be sent."""
        values, view = _values(body), _dict(body.get("view"))
        if not values.customer:
            return
        customer = await self._one_customer(values.customer, person.lang)
        if isinstance(customer, str):
            card, override = [customer], False
        else:
            card, override = await self._standing(values, customer, body, person)
        again = self._render(person.lang, card=card, override=override)
        try:
            await self._call("views.update", {"view_id": view.get("id"), "hash": view.get("hash"), "view": again})
        except self._failure as failed:
            # closed meanwhile, or a later choice has its own update: nothing is lost
            log.info("slack_window_not_updated", reason=str(failed))

    async def _standing(
        self,
        values: _Values,
        customer: CustomerHit,
        body: Mapping[str, Any],
        person: Person,
        *,
        waiting: bool = True,
    ) -> tuple[list[str], bool]:
        """The eligibility card, and whether this person may overrule what it says; unless `waiting`, by what is known
        without asking a platform."""
        found = await self._ports.eligibility(_request(body, replace(values, override=""), customer.id))
        if isinstance(found, NotAllowed):
            return [reason_text(found, person.lang, self._tz)], False
        budget = await self._ports.budget() if waiting else self._ports.budget_known()
        lines = card_lines(found, budget=budget, lang=person.lang, tz=self._tz, now_ms=self._now_ms())
        if found.refused is None or not self._ports.overridable(found.refused.reason):
            return lines, False
        user_id, team_id = acting_person(body)
        ask = self._access.check if waiting else self._access.check_now
        return lines, (await ask("override", user_id, team_id=team_id))[1] is None

    async def _one_customer(self, chosen: str, lang: str) -> CustomerHit | str:
        """The customer that was chosen, or the sentence that asks for another choice."""
        if not chosen:
            return _say("missing", lang)
        beginning = chosen[:-1] if len(chosen) == _VALUE_LIMIT and chosen.endswith("…") else ""
        found = await self._ports.find(beginning or chosen)
        exact = [hit for hit in found if hit.id == chosen or (beginning and hit.id.startswith(beginning))]
        if len(exact) == 1:
            return exact[0]
        return _say("several" if exact else "unfound", lang, who=", ".join(cut(hit.id, 80) for hit in exact[:5]))


@dataclass(frozen=True, slots=True)
class _Values:
    flow_id: str
    customer: str
    channel: str
    at_ms: int | None
    note: str
    override: str


def _values(body: Mapping[str, Any]) -> _Values:
    """What stands in the window. Submissions are outside data: keys may be missing, values null or too
    long."""
    values = _dict(_dict(_dict(body.get("view")).get("state")).get("values"))

    def entry(name: str) -> dict[str, Any]:
        return _dict(_dict(values.get(name)).get(name))

    def chosen(name: str) -> str:
        return _words(_dict(entry(name).get("selected_option")).get("value"), _NAMED_LIMIT)

    at_s = entry("when").get("selected_date_time")
    channel = chosen("channel")
    return _Values(
        flow_id=chosen("flow"),
        customer=chosen(CUSTOMER),
        channel=channel if channel in ("line", "slack") else "",
        at_ms=at_s * 1000 if isinstance(at_s, int) and 0 < at_s < 10**11 else None,
        note=_words(entry("note").get("value"), _NOTE_LIMIT),
        override=_words(entry("override").get("value"), _NOTE_LIMIT),
    )


def _request(body: Mapping[str, Any], values: _Values, customer_id: str) -> SurveyRequest:
    (user_id, team_id), view = acting_person(body), _dict(body.get("view"))
    wish = [team_id, view.get("id"), values.flow_id, customer_id, values.at_ms, values.channel, bool(values.override)]
    return SurveyRequest(
        request_id=f"survey:{hashlib.sha256(json.dumps(wish).encode()).hexdigest()[:32]}",
        flow_id=values.flow_id,
        customer_id=customer_id,
        at_ms=values.at_ms,
        note=values.note,
        requested_by=user_id,
        workspace=team_id,
        channel=values.channel,
        override_reason=values.override,
    )


def _text_of(message: Mapping[str, Any]) -> str:
    """The words of a message as Slack gives them: its text, and what stands in its blocks besides."""
    found: list[str] = [str(message.get("text") or "")]

    def walk(part: object, depth: int = 0) -> None:
        if isinstance(part, list):
            for one in part:
                walk(one, depth)
        elif isinstance(part, dict) and depth < 8:
            text = part.get("text")
            if isinstance(text, str) and text not in found[0]:
                found.append(text)
            for one in part.values():
                walk(one, depth + 1)

    walk(message.get("blocks"))
    return "\n".join(found)


def _words(value: object, limit: int) -> str:
    return storable(value).strip()[:limit] if isinstance(value, str) else ""


def _via(channel: str, lang: str) -> str:
    ja, en = _VIA.get(channel, ("", ""))
    return en if lang == "en" else ja


def _errors(**sentences: str) -> JsonObject:
    return {"response_action": "errors", "errors": sentences}


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
