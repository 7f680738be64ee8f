"""What staff do with a case in Slack: the buttons of its card, their windows, and who may.

A click or a sent window is stored as a job before Slack gets its acknowledgement; the worker then asks who that was,
does it and says why when it could not. Windows open after the acknowledgement: nothing is lost if one does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from bot.cases import CaseRequest, Cases, Colleague, Refusal, Verb
from bot.channel import JsonObject
from bot.clock import Clock
from bot.outbox import Outbox, Units
from bot.slack import blocks as kit
from bot.slack.words import storable
from bot.staff.access import Access, acting_person, permission_of, window_private, window_told
from bot.staff.card import ACTION, VERBS, outcome_label
from bot.staff.people import Call, Person
from bot.staff.telling import Teller
from flows.cases import BEHAVIOURS, OUTCOMES
from storage.records import Case, Job
from storage.store import Store, Tx

if TYPE_CHECKING:
    from bot.config import Shop
    from bot.promises import Promises
    from bot.voice import Voice

log = structlog.get_logger(__name__)

REPLY_LIMIT: Final = 1000
_NOTE_LIMIT: Final = 500
TEMPLATE: Final = f"{ACTION}.template"
"""Action id of the choice of a text to start from."""
_PREVIEW: Final = f"{ACTION}.preview"

_TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "title.reply": ("お客さまに返信", "Reply to the customer"),
    "title.preview": ("送信前の確認", "Before it is sent"),
    "title.hand_over": ("引き継ぐ", "Hand over"),
    "title.call": ("電話メモ", "Call note"),
    "title.snooze": ("あとで対応する", "Snooze"),
    "title.unsent": ("送信していません", "Not sent"),
    "title.words": ("ご相談の内容", "The case in full"),
    "title.resolve": ("対応を終える", "Resolve"),
    "cancel": ("やめる", "Cancel"),
    "back": ("書き直す", "Back"),
    "close": ("閉じる", "Close"),
    "check": ("確認する", "Preview"),
    "send": ("送信する", "Send"),
    "save": ("保存する", "Save"),
    "template": ("お返事の例", "Start from"),
    "text": ("お返事", "Your reply"),
    "text.hint": (
        "お店の名前とお名前は、前後に自動で入ります。次の画面で、お客さまに届く文章を確かめられます。",
        "The shop's name and yours are added. The next window shows exactly what the customer will read.",
    ),
    "preview": ("お客さまには{here}で次のように届きます。", "This is what the customer will read in {here}."),
    "to": ("引き継ぐ相手", "To whom"),
    "note": ("社内メモ", "Team note"),
    "reached": ("通話の結果", "The call"),
    "reached.yes": ("お話しできた", "I reached the customer"),
    "reached.no": ("不在だった", "No answer"),
    "until": ("いつまで保留しますか", "Until when"),
    "outcome": ("結果", "Outcome"),
    "follow_up": ("その後の確認", "Afterwards"),
    "follow_up.yes": (
        "後日「その後いかがでしょうか」とお客さまに一度だけうかがう",
        "Ask the customer once whether all is well",
    ),
    "empty": ("お返事をご入力ください。", "Please write a reply."),
    "choose": ("お選びください。", "Please choose."),
    "settled": (
        "この対応は、すでに終わっています。何も送信・変更していません。",
        "This case has been settled already. Nothing was sent or changed.",
    ),
    "erased": (
        "お客さまのご希望により、内容を消去しました。何も送信・変更していません。",
        "The content was erased at the customer's request. Nothing was sent or changed.",
    ),
    "gone": (
        "この対応は、もうありません。何も送信・変更していません。",
        "This case is no longer there. Nothing was sent or changed.",
    ),
    "taken": ("@{staff}さんがすでに担当しています。", "@{staff} is looking after this already."),
    "already": ("その方がすでに担当しています。", "They look after this already."),
    "grace": ("まだ受付中です。少し待ってからお試しください。", "Please wait a moment and try again."),
    "snooze_past": ("過去の日時です。", "This time has passed."),
    "snooze_far": ("30日より先の日時です。", "This is more than 30 days ahead."),
    "blocked": (
        "お客さまがブロック中のため届きません。電話かメールをご検討ください。",
        "The customer has blocked the account. Consider phone or e-mail.",
    ),
    "unreachable": (
        "LINEにもSlackにもつながっていないため、送れません。電話かメールをご検討ください。",
        "The customer is connected to neither LINE nor Slack. Consider phone or e-mail.",
    ),
    "heir": (
        "その方には引き継げません。この操作の権限がある方をお選びください。",
        "This person can't take it over. Please choose somebody who may look after cases.",
    ),
    "silence": (
        "お客さまは「連絡は不要」とお答えです。",
        "The customer said that they do not want to be contacted.",
    ),
    "unsent": ("送らなかった文章：", "What was not sent:"),
}


def _say(key: str, lang: str, **values: object) -> str:
    ja, en = _TEXTS[key]
    return (en if lang == "en" else ja).format(**values)


@dataclass(frozen=True, slots=True)
class _Window:
    """What a window carries in its private metadata: which case, and whose window it is."""

    case_id: str
    lang: str
    staff: str
    text: str = ""

    def dump(self) -> str:
        return window_private(self.lang, c=self.case_id, n=self.staff, t=self.text)

    @classmethod
    def parse(cls, view: object) -> _Window | None:
        told = window_told(view)
        if "c" not in told:
            return None
        return cls(told["c"], "en" if told.get("l") == "en" else "ja", told.get("n", ""), told.get("t", ""))


class CaseDesk:
    """The staff's side of cases.

    Args:
        call: One Web API call.
        access: Permissions, names and languages.
        in_full: Blocks that show a case with its words, in a language.
    """

    def __init__(
        self,
        call: Call,
        *,
        access: Access,
        teller: Teller,
        in_full: Callable[[Tx, Case, str], list[JsonObject]],
        cases: Cases,
        promises: Promises,
        voice: Voice,
        shop: Shop,
        store: Store,
        clock: Clock,
        units: Units,
    ) -> None:
        self._call = call
        self._access = access
        self._teller = teller
        self._in_full = in_full
        self._cases = cases
        self._promises = promises
        self._voice = voice
        self._shop = shop
        self._store = store
        self._clock = clock
        self._units = units

    # -------------------- stored before it is acknowledged

    async def take(self, body: Mapping[str, Any], *, key: str, workspace: str) -> JsonObject | str | None:
        """Store a click or a sent window of a case; how it is acknowledged ("" is a plain yes). None when it is
        something else, or only opens a window."""
        if body.get("type") == "view_submission":
            view = _dict(body.get("view"))
            callback = str(view.get("callback_id") or "")
            window = _Window.parse(view)
            if not callback.startswith(f"{ACTION}.") or window is None:
                return None
            if callback == f"{ACTION}.reply":
                return await self._previewed(view, window, body)
            wanted = _request_of(callback.removeprefix(f"{ACTION}."), view, window, body)
            if isinstance(wanted, dict):
                return wanted
            return await self._keep(wanted, key, workspace, window=window, body=body)
        action = _first_action(body)
        if action.get("action_id") != f"{ACTION}.claim":
            return None
        user_id, team_id = acting_person(body)
        wanted = CaseRequest(str(action.get("value") or ""), "claim", user_id, team_id)
        return await self._keep(wanted, key, workspace, window=None, body=body)

    async def _keep(
        self, wanted: CaseRequest, key: str, workspace: str, *, window: _Window | None, body: Mapping[str, Any]
    ) -> JsonObject | str:
        view_id = "" if window is None else str(_dict(body.get("view")).get("id") or key)

        def unit(tx: Tx, outbox: Outbox) -> tuple[Refusal | None, str]:
            if not tx.note_inbound("slack", workspace, key, outbox.now_ms):
                return None, ""
            case = tx.find_case(wanted.case_id)
            refused = None if window is None else self._cases.refusal(tx, wanted, outbox.now_ms)
            if refused is None and case is not None:
                outbox.queue(
                    tx,
                    "staff",
                    wanted,
                    # one after the other: of two who claim, the first one has it
                    lane=f"case:{wanted.case_id}",
                    # a window is sent once, however often its button is pressed
                    key=f"staff:{view_id}" if view_id else "",
                    customer_id=case.customer_id,
                )
            return refused, "" if case is None else case.assignee_name

        refused, assignee = await self._units.write(unit)
        if window is None:
            return ""
        if refused is not None:
            # what has become of the case is for those who may look after it
            _, sentence = await self._access.decide_now(
                permission_of("view", ACTION), body, way=f"view:{ACTION}.{wanted.verb}"
            )
            sentence = sentence or _say(refused, window.lang, staff=assignee)
            return _refused_view(wanted, sentence, window.lang, keep=refused not in ("erased", "gone"))
        return {"response_action": "clear"} if wanted.verb == "reply" else ""

    async def _previewed(self, view: Mapping[str, Any], window: _Window, body: Mapping[str, Any]) -> JsonObject:
        """The first window of a reply was sent: show what the customer will read, and change nothing."""
        block_id, text = _text_block(view)
        if not text:
            return _errors(block_id, _say("empty", window.lang))
        _, sentence = await self._access.decide_now(permission_of("view", ACTION), body, way=f"view:{ACTION}.reply")
        if sentence:
            return _errors(block_id, sentence)
        wanted = CaseRequest(window.case_id, "reply", "", text=text)

        def look(tx: Tx) -> tuple[Refusal | None, str, str]:
            refused = self._cases.refusal(tx, wanted, self._clock.now_ms())
            case = tx.find_case(window.case_id)
            if case is None or refused is not None:
                return refused or "gone", "" if case is None else case.assignee_name, ""
            address = self._cases.address(tx, case)
            here = "" if address is None else {"line": "LINE", "slack": "Slack"}[address.channel]
            by = Colleague(acting_person(body)[0], window.staff)
            return None, self._cases.reply_text(case, tx, by, text), here

        refused, shown, here = await self._store.read(look)
        if refused is not None:
            return _errors(block_id, _say(refused, window.lang, staff=shown))
        lang = window.lang
        sure = kit.modal(
            _PREVIEW,
            _say("title.preview", lang),
            [kit.words((_say("preview", lang, here=here), False)), kit.quote(shown)],
            close=_say("back", lang),
            submit=_say("send", lang),
            private=_Window(window.case_id, lang, window.staff, text).dump(),
        )
        return {"response_action": "push", "view": sure}

    # -------------------- done by the worker

    async def run(self, job: Job) -> None:
        """A "staff" job: who was that, may they, and then it is done in one transaction."""
        wanted = msgspec.json.decode(job.payload, type=CaseRequest)
        way = f"{'action' if wanted.verb == 'claim' else 'view'}:{ACTION}.{wanted.verb}"
        asked = permission_of("view", ACTION)
        person, refused = await self._access.check_stored(
            asked, wanted.user_id, team_id=wanted.team_id, way=way, attempts=job.attempts
        )
        if refused:
            await self._refuse(job, wanted, refused)
            return
        heir = None
        if wanted.to:
            heir, unfit = await self._access.check(asked, wanted.to)
            if unfit is not None:
                await self._refuse(job, wanted, _say("heir", person.lang))
                return

        def unit(tx: Tx, outbox: Outbox) -> tuple[Refusal | None, Case | None]:
            if not tx.finish_job(job, state="done", at_ms=outbox.now_ms):
                return None, None
            case = tx.find_case(wanted.case_id)
            to = None if heir is None else _colleague(heir)
            return self._cases.carry_out(tx, wanted, _colleague(person), outbox, to=to), case

        late, case = await self._units.write(unit)
        if late is not None:
            sentence = _say(late, person.lang, staff="" if case is None else case.assignee_name)
            if wanted.text and late not in ("erased", "gone"):
                # typed in vain is bad enough; typed again is worse
                sentence += f"\n{_say('unsent', person.lang)}\n{wanted.text}"
            await self._tell(wanted.user_id, sentence, job)

    async def _refuse(self, job: Job, wanted: CaseRequest, sentence: str) -> None:
        now_ms = self._clock.now_ms()
        await self._store.write(lambda tx: tx.finish_job(job, state="done", at_ms=now_ms))
        await self._tell(wanted.user_id, sentence, job)

    async def _tell(self, user_id: str, sentence: str, about: Job) -> None:
        """To be read by one person, in the alert channel; words typed in vain go with the customer they were for."""
        channel = "" if self._shop.alerts is None else self._shop.alerts.channel
        await self._teller.tell(user_id, sentence, channel=channel, customer_id=about.customer_id)

    # -------------------- windows

    async def pressed(self, body: Mapping[str, Any], person: Person) -> str:
        """Open the window behind a button of the card; "" or the sentence to say instead."""
        action = _first_action(body)
        verb, case_id = str(action.get("action_id", "")).removeprefix(f"{ACTION}."), str(action.get("value") or "")
        if verb not in VERBS:
            return _say("gone", person.lang)
        user_id, team_id = acting_person(body)
        named = await self._access.may("read_comments", user_id, team_id=team_id)
        view = await self._store.read(lambda tx: self._view(tx, verb, case_id, person, named=named))
        if isinstance(view, str):
            return view
        await self._call("views.open", {"trigger_id": str(body.get("trigger_id", "")), "view": view})
        return ""

    async def opened(self, body: Mapping[str, Any], person: Person) -> str:
        """Show somebody who may read comments what the card leaves out; "" or the sentence to say instead."""
        case_id = str(_first_action(body).get("value") or "")

        def unit(tx: Tx, outbox: Outbox) -> list[JsonObject] | str:
            case = tx.find_case(case_id)
            if case is None or not case.customer_id:
                return _say("gone", person.lang)
            if case.outcome == "erased":
                return _say("erased", person.lang)
            self._cases.audit(tx, person.id, "read", case, outbox)
            return self._in_full(tx, case, person.lang)

        shown = await self._units.write(unit)
        if isinstance(shown, str):
            return shown
        lang = person.lang
        view = kit.modal(f"{ACTION}.read", _say("title.words", lang), shown, close=_say("close", lang))
        await self._call("views.open", {"trigger_id": str(body.get("trigger_id", "")), "view": view})
        return ""

    async def picked(self, body: Mapping[str, Any], _: Person) -> None:
        """Somebody chose another text to start from."""
        view = _dict(body.get("view"))
        window = _Window.parse(view)
        chosen = str(_dict(_first_action(body).get("selected_option")).get("value") or "")
        if window is None or chosen not in BEHAVIOURS:
            return

        def read(tx: Tx) -> JsonObject | None:
            case = tx.find_case(window.case_id)
            return None if case is None else self._reply_view(tx, case, window, chosen)

        again = await self._store.read(read)
        if again is not None:
            await self._call("views.update", {"view_id": view.get("id"), "hash": view.get("hash"), "view": again})

    def _view(self, tx: Tx, verb: str, case_id: str, person: Person, *, named: bool) -> JsonObject | str:
        case = tx.find_case(case_id)
        lang, now_ms = person.lang, self._clock.now_ms()
        if case is None or not case.customer_id:
            return _say("gone", lang)
        if case.state == "settled":
            return _say("erased" if case.outcome == "erased" else "settled", lang)
        window = _Window(case.id, lang, _colleague(person).name)
        if verb == "reply":
            refused = self._cases.refusal(tx, CaseRequest(case.id, "reply", person.id), now_ms)
            if refused is not None:
                return _say(refused, lang, staff=case.assignee_name)
            return self._reply_view(tx, case, window, self._cases.behaviour(tx, case, with_words=named))
        note = kit.text_input("note", _say("note", lang), limit=_NOTE_LIMIT, multiline=True, optional=True)
        match verb:
            case "hand_over":
                chooser: JsonObject = {"type": "users_select", "action_id": "to"}
                body = [kit.field("to", _say("to", lang), chooser), note]
            case "call":
                results = [kit.option(_say(f"reached.{answer}", lang), answer) for answer in ("yes", "no")]
                radio: JsonObject = {"type": "radio_buttons", "action_id": "reached", "options": results}
                body = [kit.field("reached", _say("reached", lang), radio), note]
            case "snooze":
                # an hour of working time from here: today, or the next morning somebody is there
                at_s = self._promises.working_after_ms(now_ms, 3_600_000) // 1000
                picker: JsonObject = {"type": "datetimepicker", "action_id": "until", "initial_date_time": at_s}
                body = [kit.field("until", _say("until", lang), picker)]
            case _:
                outcomes = [kit.option(outcome_label(outcome, lang), outcome) for outcome in OUTCOMES]
                select: JsonObject = {"type": "static_select", "action_id": "outcome", "options": outcomes}
                body = [kit.field("outcome", _say("outcome", lang), select), note]
                if self._cases.may_ask(tx, case):
                    ask = [kit.option(_say("follow_up.yes", lang), "yes")]
                    boxes: JsonObject = {
                        "type": "checkboxes",
                        "action_id": "follow_up",
                        "options": ask,
                        "initial_options": ask,
                    }
                    body.append(kit.field("follow_up", _say("follow_up", lang), boxes, optional=True))
        return kit.modal(
            f"{ACTION}.{verb}",
            _say(f"title.{verb}", lang),
            body,
            close=_say("cancel", lang),
            submit=_say("save", lang),
            private=window.dump(),
        )

    def _reply_view(self, tx: Tx, case: Case, window: _Window, behaviour: str) -> JsonObject:
        lang = window.lang
        # the labels are for staff, the text for the customer
        options = {b: kit.option(self._voice.text(f"care.{b}.label", lang, {}), b) for b in BEHAVIOURS}
        select: JsonObject = {
            "type": "static_select",
            "action_id": TEMPLATE,
            "options": list(options.values()),
            "initial_option": next(o for b, o in options.items() if b == behaviour),
        }
        text = self._cases.suggestion(
            tx,
            case,
            next(b for b in BEHAVIOURS if b == behaviour),
            self._cases.language(tx, case),
            self._clock.now_ms(),
        )
        # another block id for another text: Slack keeps what was typed in a block of the same name
        field = kit.text_input(
            f"text.{behaviour}",
            _say("text", lang),
            limit=REPLY_LIMIT,
            multiline=True,
            hint=_say("text.hint", lang),
            initial=text,
        )
        return kit.modal(
            f"{ACTION}.reply",
            _say("title.reply", lang),
            [
                *([kit.words((_say("silence", lang), True))] if self._cases.wants_silence(tx, case) else []),
                kit.field("template", _say("template", lang), select, dispatch=True),
                field,
            ],
            close=_say("cancel", lang),
            submit=_say("check", lang),
            private=window.dump(),
        )


def _request_of(
    verb: str, view: Mapping[str, Any], window: _Window, body: Mapping[str, Any]
) -> CaseRequest | JsonObject:
    """What a sent window asks for; or what is wrong with it. Submissions are outside data: keys may be missing."""
    values, lang = _dict(_dict(view.get("state")).get("values")), window.lang
    user_id, team_id = acting_person(body)

    def entry(name: str) -> dict[str, Any]:
        return _dict(_dict(values.get(name)).get(name))

    note = _words(entry("note").get("value"), _NOTE_LIMIT)

    def request(verb: Verb, **wanted: Any) -> CaseRequest:
        return CaseRequest(window.case_id, verb, user_id, team_id, **{"text": note, **wanted})

    match verb:
        case "preview":
            return request("reply", text=_words(window.text, REPLY_LIMIT))
        case "hand_over":
            to = entry("to").get("selected_user")
            return request("hand_over", to=to) if isinstance(to, str) and to else _errors("to", _say("choose", lang))
        case "call":
            said = _dict(entry("reached").get("selected_option")).get("value")
            if said not in ("yes", "no"):
                return _errors("reached", _say("choose", lang))
            return request("call", reached=said == "yes")
        case "snooze":
            at_s = entry("until").get("selected_date_time")
            if not isinstance(at_s, int) or not 0 < at_s < 10**11:
                return _errors("until", _say("choose", lang))
            return request("snooze", until_ms=at_s * 1000)
        case _:
            outcome = _dict(entry("outcome").get("selected_option")).get("value")
            if outcome not in OUTCOMES:
                return _errors("outcome", _say("choose", lang))
            ticked = entry("follow_up").get("selected_options")
            return request("resolve", outcome=outcome, follow_up=bool(ticked))


_FIELD: Final[Mapping[str, str]] = {"hand_over": "to", "call": "reached", "snooze": "until", "resolve": "outcome"}


def _refused_view(wanted: CaseRequest, sentence: str, lang: str, *, keep: bool) -> JsonObject:
    """Why it was not done, where the person is looking; with `keep` a reply's words stay readable, to be used
    elsewhere."""
    if wanted.verb in _FIELD:
        return _errors(_FIELD[wanted.verb], sentence)
    shown = [kit.words((sentence, False))]
    if keep:
        shown += [kit.words((_say("unsent", lang), False)), kit.quote(wanted.text)]
    view = kit.modal(f"{ACTION}.result", _say("title.unsent", lang), shown, close=_say("close", lang))
    return {"response_action": "update", "view": view}


def _text_block(view: Mapping[str, Any]) -> tuple[str, str]:
    for block_id, fields in _dict(_dict(view.get("state")).get("values")).items():
        if str(block_id).startswith("text."):
            return str(block_id), _words(_dict(_dict(fields).get(block_id)).get("value"), REPLY_LIMIT)
    return "text", ""


def _colleague(person: Person) -> Colleague:
    return Colleague(person.id, person.name)


def _errors(block_id: str, sentence: str) -> JsonObject:
    return {"response_action": "errors", "errors": {block_id: sentence}}


def _words(value: object, limit: int) -> str:
    return storable(value).strip()[:limit] if isinstance(value, str) else ""


def _first_action(body: Mapping[str, Any]) -> dict[str, Any]:
    actions = body.get("actions")
    return _dict(actions[0]) if isinstance(actions, list) and actions else {}


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
