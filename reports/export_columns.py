"""What `koe export` writes: each column with what it means and where it comes from. The files and the dictionary beside
them are made of these tables and of nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from reports.sheets import Cell, Heading, Kind
from storage.connection import clean
from storage.records import Answer, CaseOrigin, Event

What = Literal["answers", "events", "cases"]
Show = Callable[[str], str]
"""How customers' words are shown: masked, or as they were written."""
R = TypeVar("R")

DONT_KNOW = "わからない"
"""In the place of an answer that is missing because the customer did not know: files of answers are read so."""
_WHOLE = re.compile(r"0|-?[1-9]\d{0,8}")


@dataclass(frozen=True, slots=True)
class Column(Generic[R]):
    """One column of a file."""

    name: str
    kind: Kind
    ja: str
    en: str
    of: Callable[[R, Show], Cell]
    unit: str = ""
    values: str = ""
    """Which there are, when they are few."""

    @property
    def heading(self) -> Heading:
        return Heading(self.name, self.kind)


_TIME = "local time"
_MINUTES = "min"
_FLAG = "1 = yes, 0 = no"


def _value(answer: Answer, show: Show) -> Cell:
    if answer.missing:
        return DONT_KNOW if answer.missing == "dk" else ""
    if not answer.numeric:
        return show(answer.value)
    return int(answer.value) if _WHOLE.fullmatch(answer.value) else answer.value


ANSWERS: tuple[Column[Answer], ...] = (
    Column("answered_at", "time", "回答された日時", "when the answer was given", lambda a, s: a.answered_ms, _TIME),
    Column(
        "customer",
        "text",
        "お客さまの番号（お店のもの）",
        "the shop's own id of the customer",
        lambda a, s: a.customer_id,
    ),
    Column(
        "survey_kind",
        "text",
        "アンケートの種類",
        "kind of survey",
        lambda a, s: a.survey_kind,
        values="transactional, relational",
    ),
    Column("touchpoint", "text", "接点", "what it was about", lambda a, s: a.touchpoint, values="purchase, support …"),
    Column("channel", "text", "回答の場所", "where it was answered", lambda a, s: a.channel, values="line, slack …"),
    Column(
        "segment", "text", "区分（店舗など）", "what answers are grouped by, such as a store", lambda a, s: a.segment
    ),
    Column("session", "text", "会話の番号", "the conversation it belongs to", lambda a, s: a.session_id),
    Column(
        "instrument",
        "text",
        "標準の質問（お店独自の質問では空）",
        "the standard question; empty for a question of the shop's own",
        lambda a, s: a.instrument,
        values="nps, sat5, ces_effort …",
    ),
    Column(
        "value",
        "text",
        "回答（点数、選択肢のコード、または自由記述。複数選択は ; 区切り）",
        "the answer: a number, a code (several joined by ;), or the customer's words",
        _value,
        values=f"empty = skipped, {DONT_KNOW} = did not know",
    ),
    Column("lang", "text", "会話の言語", "language of the conversation", lambda a, s: a.lang, values="ja, en"),
    Column("wording_id", "text", "質問文の版", "which wording was asked", lambda a, s: a.wording_id),
    Column("label_set", "text", "選択肢の表記の版", "which labels the choices had", lambda a, s: a.label_set),
    Column(
        "wave",
        "text",
        "数回に分けたアンケートの番号",
        "the survey of several conversations it is part of",
        lambda a, s: a.wave_id,
    ),
    Column("question", "text", "フローの中の質問", "the question within its flow", lambda a, s: a.question),
    Column(
        "free_text", "flag", "自由記述かどうか", "whether it is free text", lambda a, s: not a.numeric, values=_FLAG
    ),
    Column(
        "missing",
        "text",
        "回答がない理由",
        "why there is no answer",
        lambda a, s: a.missing,
        values="empty = answered, skipped, dk = did not know",
    ),
    Column("flow", "text", "フロー", "the flow", lambda a, s: a.flow_id),
    Column("revision", "text", "フローの改訂", "revision of the flow", lambda a, s: a.revision),
    Column("shown_at", "time", "質問を表示した日時", "when the question was shown", lambda a, s: a.shown_ms, _TIME),
    Column(
        "week", "text", "集計される週（月曜日の日付）", "the week it counts in: its Monday", lambda a, s: a.week, "date"
    ),
    Column(
        "late",
        "flag",
        "期限後の回答かどうか",
        "whether it came after the survey had expired",
        lambda a, s: a.late,
        values=_FLAG,
    ),
    Column(
        "quote_ok",
        "flag",
        "社外での引用に同意があるかどうか",
        "whether the customer agreed to be quoted outside the company",
        lambda a, s: a.quote_ok,
        values=_FLAG,
    ),
    Column("answer", "text", "回答の番号", "id of the answer", lambda a, s: a.id),
)

REPLACED: Column[Answer] = Column(
    "replaced_at",
    "time",
    "集計から外れた日時（訂正など）。空なら集計の対象",
    "since when it no longer counts (corrected, withdrawn); empty while it counts",
    lambda a, s: a.replaced_ms,
    _TIME,
)
"""The last column of answers with their history."""


class EventRow(NamedTuple):
    """An event with its data parted: what a column takes, and the rest."""

    event: Event
    known: Mapping[str, Cell]
    rest: Mapping[str, Any]


class _Field(NamedTuple):
    """A documented field of `data`."""

    kind: Kind
    ja: str
    en: str
    unit: str = ""


_YEN = "yen"
_FIELDS: Mapping[str, _Field] = {
    "order": _Field("text", "注文番号", "the order"),
    "amount": _Field("number", "金額", "amount of the order", _YEN),
    "cost": _Field("number", "原価", "cost of the order", _YEN),
    "units": _Field("number", "数量", "how many pieces"),
    "product": _Field("text", "商品", "the product"),
    "item": _Field("text", "商品（product の別名）", "the product, under its other name"),
    "discount": _Field("text", "値引き", "whether, or how much, it was reduced"),
    "points": _Field("text", "ポイント", "whether, or how many, points were used"),
    "channel": _Field("text", "販売経路", "where it was bought"),
    "store": _Field("text", "店舗", "the store"),
    "cancelled": _Field("text", "取消", "whether it was called off"),
    "test": _Field("text", "テスト注文", "whether it was only a test"),
    "due": _Field("text", "予定の日時", "when it was promised for"),
    "at": _Field("text", "実際の日時", "when it really happened"),
    "ticket": _Field("text", "問い合わせ番号", "the enquiry"),
    "automatic": _Field("text", "自動返信", "whether nobody wrote it"),
    "id": _Field("text", "約束の番号", "the promise"),
    "kept_at": _Field("text", "約束を果たした日時", "when the promise was kept"),
    "incident_id": _Field("text", "不手際の番号", "the failure it is about"),
    "resolved": _Field("text", "解決したか", "whether it was solved"),
    "visitor": _Field("text", "訪問者", "the visitor"),
    "converted": _Field("text", "購入に至ったか", "whether the visit led to a purchase"),
    "bot": _Field("text", "機械の訪問", "whether the visitor was a machine"),
    "new_customer": _Field("text", "紹介された方", "who was referred"),
    "referrer": _Field("text", "紹介した方", "who referred them"),
    "referral_code": _Field("text", "紹介コード", "the code by which they were referred"),
    "rewarded": _Field("text", "紹介のお礼の有無", "whether something was given for it"),
    "incentivised": _Field("text", "投稿のお礼の有無", "whether something was given for the post"),
    "hits": _Field("number", "検索の件数", "how many results were found"),
    "query": _Field("text", "検索の言葉（お客さまの言葉）", "what was searched for: the customer's words"),
    "session": _Field("text", "閲覧や他社アンケートの番号", "the session of another tool"),
    "message": _Field("text", "メッセージ", "the message"),
    "page": _Field("text", "ページ", "the page"),
    "seconds": _Field("number", "滞在時間", "how long it was looked at", "s"),
    "question": _Field("text", "他社アンケートの質問", "the question of another tool"),
    "via": _Field("text", "きっかけ（qr など）", "what opened it, such as qr"),
    "cards": _Field("number", "同梱したカードの枚数", "QR cards in the shipment"),
}
"""The fields that docs/events.md names, in the order of its tables."""
_WORDS = frozenset({"query"})
_MOST_DIGITS = 2**53


def event_row(event: Event) -> EventRow:
    """The event with its data parted. A value that its column cannot hold – a list of products, an amount written as
    「5,400円」 – stays in the rest, so that nothing is lost."""
    data: dict[str, Any] = json.loads(event.data)
    known: dict[str, Cell] = {}
    for name in list(data):
        field = _FIELDS.get(name)
        if field is not None and (cell := _cell(data[name], field.kind)) is not None:
            known[name] = cell
            del data[name]
    return EventRow(event, known, data)


def _cell(value: object, kind: Kind) -> Cell:
    if kind == "number":
        # not a number and infinity are no smaller than anything
        fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST_DIGITS
        return value if fits else None  # type: ignore[return-value]
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return clean(value) or None
    return value if isinstance(value, int) and abs(value) < _MOST_DIGITS else None


def _shown(value: Any, show: Show) -> Any:
    """JSON with its texts shown."""
    match value:
        case str():
            return show(clean(value))
        case dict():
            return {name: _shown(inner, show) for name, inner in value.items()}
        case list():
            return [_shown(inner, show) for inner in value]
        case _:
            return value


def _rest(row: EventRow, show: Show) -> str:
    return json.dumps(_shown(row.rest, show), ensure_ascii=False) if row.rest else ""


def _of_field(name: str) -> Callable[[EventRow, Show], Cell]:
    def of(row: EventRow, show: Show) -> Cell:
        cell = row.known.get(name)
        return show(cell) if name in _WORDS and isinstance(cell, str) else cell

    return of


EVENTS: tuple[Column[EventRow], ...] = (
    Column("id", "text", "イベントの番号", "id of the event", lambda r, s: r.event.id),
    Column(
        "type",
        "text",
        "イベントの種類",
        "what happened",
        lambda r, s: r.event.type,
        values="purchase, delivery, return, ticket_resolved …",
    ),
    Column("occurred_at", "time", "起きた日時", "when it happened", lambda r, s: r.event.occurred_ms, _TIME),
    Column(
        "customer.id",
        "text",
        "お客さまの番号（お店のもの）",
        "the shop's own id of the customer",
        lambda r, s: r.event.customer_id,
    ),
    Column(
        "received_at", "time", "Koeが受け取った日時", "when Koe received it", lambda r, s: r.event.received_ms, _TIME
    ),
    Column(
        "imported",
        "flag",
        "ファイルから取り込んだものかどうか",
        "whether it came from a file, as history",
        lambda r, s: r.event.imported,
        values=_FLAG,
    ),
    *(
        Column(f"data.{name}", field.kind, field.ja, field.en, _of_field(name), field.unit)
        for name, field in _FIELDS.items()
    ),
    Column("data", "text", "その他の項目（JSON）", "all other fields, as a JSON object", _rest),
)


def _minutes(start_ms: int, end_ms: int | None) -> Cell:
    return None if end_ms is None else round((end_ms - start_ms) / 60_000, 1)


def _in_time(origin: CaseOrigin, show: Show) -> Cell:
    due_ms, replied_ms = origin.case.due_ms, origin.case.replied_ms
    return None if due_ms is None or replied_ms is None else replied_ms <= due_ms


CASES: tuple[Column[CaseOrigin], ...] = (
    Column("case", "text", "対応の番号", "id of the case", lambda o, s: o.case.id),
    Column("opened_at", "time", "始まった日時", "when it was opened", lambda o, s: o.case.opened_ms, _TIME),
    Column(
        "customer",
        "text",
        "お客さまの番号（お店のもの）",
        "the shop's own id of the customer",
        lambda o, s: o.case.customer_id,
    ),
    Column(
        "reason",
        "text",
        "きっかけ",
        "why it was opened",
        lambda o, s: o.case.reason,
        values="unhappy, undelivered, unsolved, request, person, contact, photo, trust_drop",
    ),
    Column("words", "text", "お客さまの言葉", "the customer's words", lambda o, s: s(o.case.words)),
    Column(
        "state",
        "text",
        "状態",
        "where it stands",
        lambda o, s: o.case.state,
        values="grace = not yet shown to staff, open, claimed, settled",
    ),
    Column(
        "contact",
        "text",
        "ご連絡の希望",
        "whether the customer wishes to be contacted",
        lambda o, s: o.case.contact,
        values="yes, no, empty = not said",
    ),
    Column(
        "due_at",
        "time",
        "お約束の日時、または対応の期限",
        "the time promised to the customer, or by which staff should answer",
        lambda o, s: o.case.due_ms,
        _TIME,
    ),
    Column("claimed_at", "time", "担当が決まった日時", "when somebody took it", lambda o, s: o.case.claimed_ms, _TIME),
    Column(
        "first_reply_at",
        "time",
        "最初にお返事した日時（電話を含む）",
        "first reply that reached the customer, or call",
        lambda o, s: o.case.replied_ms,
        _TIME,
    ),
    Column(
        "minutes_to_first_reply",
        "number",
        "最初のお返事までの時間",
        "from opening to the first reply",
        lambda o, s: _minutes(o.case.opened_ms, o.case.replied_ms),
        _MINUTES,
    ),
    Column(
        "in_time",
        "flag",
        "期限までにお返事したかどうか。お返事か期限がなければ空",
        "whether the first reply came by due_at; empty without a reply or a time",
        _in_time,
        values=_FLAG,
    ),
    Column("settled_at", "time", "終わった日時", "when it was settled", lambda o, s: o.case.settled_ms, _TIME),
    Column(
        "minutes_to_settled",
        "number",
        "終わるまでの時間",
        "from opening to being settled",
        lambda o, s: _minutes(o.case.opened_ms, o.case.settled_ms),
        _MINUTES,
    ),
    Column(
        "outcome",
        "text",
        "結果",
        "how it was settled",
        lambda o, s: o.case.outcome,
        values="exchange, refund, resend, explained, improve, unreached, other, resolved, corrected, no_contact …",
    ),
    Column(
        "told_overdue_at",
        "time",
        "期限切れを担当者に知らせた日時",
        "when staff were told that the time was missed",
        lambda o, s: o.case.overdue_ms,
        _TIME,
    ),
    Column(
        "apologised_at",
        "time",
        "遅れをお客さまにお詫びした日時",
        "when the customer was told of another time",
        lambda o, s: o.case.apologised_ms,
        _TIME,
    ),
    Column(
        "asked_at",
        "time",
        "その後をうかがった日時",
        "when the customer was asked whether all is well",
        lambda o, s: o.case.asked_ms,
        _TIME,
    ),
    Column(
        "after",
        "text",
        "そのお返事",
        "the customer's answer to that",
        lambda o, s: o.case.after,
        values="solved, still, empty = none",
    ),
    Column(
        "assignee", "text", "担当者（SlackのID）", "who looks after it: Slack user id", lambda o, s: o.case.assignee
    ),
    Column("flow", "text", "フロー", "the flow it came from", lambda o, s: o.flow_id),
    Column("survey_kind", "text", "アンケートの種類", "kind of that survey", lambda o, s: o.survey_kind),
    Column("touchpoint", "text", "接点", "what that survey was about", lambda o, s: o.touchpoint),
    Column("segment", "text", "区分（店舗など）", "what answers are grouped by", lambda o, s: o.segment),
    Column("channel", "text", "アンケートの場所", "where it was answered", lambda o, s: o.channel),
    Column("session", "text", "会話の番号", "the conversation it came from", lambda o, s: o.case.session_id),
)


def cells_of(columns: Sequence[Column[R]], record: R, show: Show) -> list[Cell]:
    """One row of a file."""
    return [column.of(record, show) for column in columns]


DICTIONARY = tuple(Heading(name, "text") for name in ("column", "type", "unit", "values", "meaning_ja", "meaning_en"))
_TYPES: Mapping[Kind, str] = {"text": "text", "number": "number", "time": "time", "flag": "yes/no"}


def dictionary_rows(columns: Sequence[Column[Any]]) -> list[list[Cell]]:
    """The rows of the dictionary, under the heads `DICTIONARY`."""
    return [[c.name, _TYPES[c.kind], c.unit, c.values, c.ja, c.en] for c in columns]
