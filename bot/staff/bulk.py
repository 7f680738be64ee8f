"""`/survey bulk`: a file of customers is asked one survey. Dropped in a window, previewed in the person's own messages,
confirmed there, then sent some at a time while that message tells how far it is.

Every step is a job: what was read, confirmed and sent is stored with it, so that a crash neither loses nor repeats any.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import structlog

from bot.channel import JsonObject, Refused
from bot.clock import Clock
from bot.outbox import Outbox, Units
from bot.slack import blocks as kit
from bot.slack.channel import SlackError
from bot.slack.words import cut, escape, storable
from bot.staff.access import Access, acting_person, permission_of, window_private
from bot.staff.asking import Budget, Eligibility, FlowOption, NotAllowed, Planned, Started, SurveyRequest, limited
from bot.staff.customer_list import FILE_LIMIT, BadList, ListedRow, read_list
from bot.staff.people import Call, Person
from bot.staff.reasons import reason_phrase
from bot.staff.telling import Teller
from flows.triggers import REASONS, RULES, ContactRules
from storage.records import AuditEntry, Batch, Job
from storage.store import Store, Tx

if TYPE_CHECKING:
    from bot.invitations import Invitations

log = structlog.get_logger(__name__)

VIEW: Final = "koe.bulk"
"""Callback id of the window."""
SEND: Final = "koe.bulk.send"
CANCEL: Final = "koe.bulk.cancel"

_NOTE_LIMIT = 500
_READ_AT_ONCE = 100
_SEND_AT_ONCE = 50
_PACE_MS = 2_000
"""Between two units, and two updates of the message: Slack takes fifty updates a minute."""
_KEPT_MS = 24 * 3_600_000
"""A preview that nobody confirms is forgotten after so long."""
_LINES_NAMED = 10

_TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "title": ("まとめて送る", "Send to a list"),
    "check": ("確認へ進む", "Preview"),
    "cancel": ("やめる", "Cancel"),
    "close": ("閉じる", "Close"),
    "flow": ("アンケート", "Survey"),
    "channel": ("送り先", "Where"),
    "channel.any": ("つながっているほう（LINEを優先）", "Where each customer is (LINE first)"),
    "channel.line": ("LINE", "LINE"),
    "channel.slack": ("Slack", "Slack"),
    "file": ("お客さまの一覧（CSV）", "The customers (CSV)"),
    "file.hint": (
        "UTF-8のCSVをお選びください。1行目に列名 customer（お客さま番号）か order（注文番号）が必要です。"
        "5,000行、1MBまで。",
        "A CSV in UTF-8 with a column customer (id) or order (number) named in its first line; 5,000 lines, 1 MB.",
    ),
    "note": ("社内メモ", "Team note"),
    "missing": ("お選びください。", "Please choose."),
    "reading": (
        "ファイルを読み取っています。送信前の確認は、このアプリとのメッセージでお届けします。まだ何も送りません。",
        "The file is being read. You get the preview in your messages with this app. Nothing is sent yet.",
    ),
    "unread": ("一覧を読み取れませんでした。{why}", "The list could not be read. {why}"),
    "bad.size": ("ファイルが大きすぎます（1MBまで）。", "The file is too large (1 MB at most)."),
    "bad.rows": (
        "行が多すぎます（5,000行まで）。分けてお送りください。",
        "There are too many lines (5,000 at most). Please split the file.",
    ),
    "bad.sjis": (
        "文字コードがShift_JISのようです。UTF-8のCSVとして保存し直してください。",
        "It seems to be Shift_JIS. Please save it again as CSV in UTF-8.",
    ),
    "bad.encoding": (
        "UTF-8として読み取れません。UTF-8のCSVとして保存し直してください。",
        "It is not UTF-8. Please save it again as CSV in UTF-8.",
    ),
    "bad.columns": (
        "1行目に customer か order の列名が必要です（あったのは：{found}）。",
        "The first line must name a column customer or order (found: {found}).",
    ),
    "bad.empty": ("お客さまの行がありません。", "There are no customers in it."),
    "bad.gone": (
        "ファイルが見つかりません。削除されたか、アプリに files:read の権限がありません。",
        "The file is not there: it was deleted, or the app lacks the scope files:read.",
    ),
    "head": ("まとめて送る：{flow}", "Send to a list: {flow}"),
    "rows": ("一覧：{lines}行、お客さま {customers}人", "The list: {lines} lines, {customers} customers"),
    "twice": ("・重複 {n}行（1人に1通だけ送ります）", "· lines that name somebody twice: {n} (one survey each)"),
    "unknown": ("・見つからない行 {n}行（{lines}行目）", "· lines that name nobody we know: {n} (line {lines})"),
    "may": ("送れる方：{n}人（LINE {line}、Slack {slack}）", "May be sent: {n} (LINE {line}, Slack {slack})"),
    "later": ("・うち時間外のため、あとで送る方 {n}人", "· of these {n} later, when the hours open"),
    "may_not": ("送れない方：{n}人", "May not: {n}"),
    "rule": ("・ルール{rule}　{why}：{n}人", "· rule {rule}: {why} ({n})"),
    "other": ("・{why}：{n}人", "· {why} ({n})"),
    "line.left": (
        "LINE通数：{n}通（今月の残り {left}通）",
        "LINE messages: {n} ({left} left this month)",
    ),
    "line.open": ("LINE通数：{n}通", "LINE messages: {n}"),
    "line.short": (
        "LINEの残り通数が足りないため、送れません。一覧を分けるか、プランをご確認ください。",
        "There are not enough LINE messages left. Please split the list or look at your plan.",
    ),
    "nobody": ("送れる方がいません。", "There is nobody to send it to."),
    "send": ("送る", "Send"),
    "stop": ("中止する", "Stop"),
    "sending": ("送信中：{done}/{total}人", "Sending: {done} of {total}"),
    "done": ("完了しました：{total}人", "Done: {total}"),
    "cancelled": ("中止しました：{done}/{total}人まで処理しました。", "Stopped after {done} of {total}."),
    "dropped": ("取りやめました。何も送っていません。", "Cancelled. Nothing was sent."),
    "expired": (
        "24時間たったため、取りやめました。何も送っていません。",
        "Cancelled after 24 hours. Nothing was sent.",
    ),
    "sent": ("・送信を受け付けた方：{n}人", "· on its way to {n}"),
}  # fmt: skip


def _say(key: str, lang: str, **values: object) -> str:
    ja, en = _TEXTS[key]
    return (en if lang == "en" else ja).format(**values)


class BulkJob(msgspec.Struct, frozen=True):
    """Body of a "bulk" job: a step of a batch."""

    batch: str
    step: str
    """read, confirm, cancel, send, expire."""
    user_id: str = ""
    team_id: str = ""
    url: str = ""


class Download(Protocol):
    """Fetches a file of Slack's; raises SlackError."""

    async def __call__(self, url: str, *, limit: int) -> bytes: ...


@dataclass(slots=True)
class _Preview:
    """What would happen to the customers of a list."""

    lines: int = 0
    twice: int = 0
    unknown: list[int] = field(default_factory=list)
    later: int = 0
    channels: Counter[str] = field(default_factory=Counter)
    blocked: Counter[str] = field(default_factory=Counter)
    customers: list[tuple[int, str]] = field(default_factory=list)


class BulkDesk:
    """The list that is dropped, previewed, confirmed and sent.

    Args:
        call: One Web API call.
        download: Fetches the dropped file.
        teller: Tells the person who clicked.
        access: Who may.
        budget: LINE's messages of this month.
        flows: The surveys on offer in a language.
    """

    def __init__(
        self,
        call: Call,
        *,
        download: Download,
        teller: Teller,
        access: Access,
        invitations: Invitations,
        contact: ContactRules,
        budget: Callable[[], Awaitable[Budget | str | None]],
        flows: Callable[[str], Sequence[FlowOption]],
        channels: Sequence[str],
        store: Store,
        clock: Clock,
        tz: tzinfo,
        units: Units,
    ) -> None:
        self._call = call
        self._download = download
        self._teller = teller
        self._access = access
        self._invitations = invitations
        self._contact = contact
        self._budget = budget
        self._flows = flows
        self._channels = channels
        self._store = store
        self._clock = clock
        self._tz = tz
        self._units = units

    # -------------------- the window

    async def open(self, body: Mapping[str, Any], person: Person) -> None:
        """Open the window in which a file is dropped."""
        view = render_bulk_view(self._flows(person.lang), channels=self._channels, lang=person.lang)
        await self._call("views.open", {"trigger_id": str(body.get("trigger_id", "")), "view": view})

    async def submitted(self, body: Mapping[str, Any], person: Person) -> JsonObject:
        """Store what was dropped, to be read after the acknowledgement. The same window twice is one list."""
        lang = person.lang
        user_id, team_id = acting_person(body)
        view = _dict(body.get("view"))
        values = _dict(_dict(view.get("state")).get("values"))

        def entry(name: str) -> dict[str, Any]:
            return _dict(_dict(values.get(name)).get(name))

        flow_id = str(_dict(entry("flow").get("selected_option")).get("value") or "")
        channel = str(_dict(entry("channel").get("selected_option")).get("value") or "")
        files = entry("file").get("files")
        file_id = str(_dict(files[0]).get("id") or "") if isinstance(files, list) and files else ""
        note = entry("note").get("value")
        if flow_id not in [flow.id for flow in self._flows(lang)]:
            return {"response_action": "errors", "errors": {"flow": _say("missing", lang)}}
        if not file_id:
            return {"response_action": "errors", "errors": {"file": _say("missing", lang)}}
        now_ms = self._clock.now_ms()
        batch = Batch(
            id=self._units.chance.new_id(now_ms),
            flow_id=flow_id,
            channel=channel if channel in ("line", "slack") else "",
            note=storable(note)[:_NOTE_LIMIT] if isinstance(note, str) else "",
            file_id=file_id,
            requested_by=user_id,
            workspace=team_id,
            lang=lang,
            state="reading",
            created_ms=now_ms,
        )

        def unit(tx: Tx, outbox: Outbox) -> None:
            if self._queue(tx, outbox, BulkJob(batch.id, "read"), key=f"bulk-read:{view.get('id')}"):
                tx.put_batch(batch)

        await self._units.write(unit)
        told = kit.modal(
            f"{VIEW}.told", _say("title", lang), [kit.words((_say("reading", lang), False))], close=_say("close", lang)
        )
        return {"response_action": "update", "view": told}

    # -------------------- stored before the acknowledgement

    async def take(self, body: Mapping[str, Any], *, key: str, workspace: str) -> bool:
        """Whether this is a click on a preview: then it is stored, once however often it is pressed."""
        actions = body.get("actions")
        action = _dict(actions[0]) if isinstance(actions, list) and actions else {}
        if action.get("action_id") not in (SEND, CANCEL):
            return False
        user_id, team_id = acting_person(body)
        wanted = BulkJob(
            batch=str(action.get("value") or "")[:100],
            step="confirm" if action["action_id"] == SEND else "cancel",
            user_id=user_id,
            team_id=team_id,
            url=str(body.get("response_url") or ""),
        )

        def unit(tx: Tx, outbox: Outbox) -> None:
            if tx.note_inbound("slack", workspace, key, outbox.now_ms):
                self._queue(tx, outbox, wanted)

        await self._units.write(unit)
        return True

    # -------------------- done by the worker

    async def run(self, job: Job) -> None:
        """A "bulk" job: one step."""
        wanted = msgspec.json.decode(job.payload, type=BulkJob)
        batch = await self._store.read(lambda tx: tx.find_batch(wanted.batch))
        if batch is None:
            await self._finish(job)
            return
        match wanted.step:
            case "read":
                await self._read(job, batch)
            case "confirm" | "cancel":
                await self._clicked(job, batch, wanted)
            case "send":
                await self._change(job, batch, self._send_some)
            case _:
                await self._change(job, batch, self._expire)

    async def _finish(self, job: Job) -> None:
        now_ms = self._clock.now_ms()
        await self._store.write(lambda tx: tx.finish_job(job, state="done", at_ms=now_ms))

    async def _change(self, job: Job, batch: Batch, step: Callable[[Tx, Batch, Outbox], None]) -> None:
        """Finish the job and do its step on the batch as it is by then, in one transaction."""

        def unit(tx: Tx, outbox: Outbox) -> None:
            now = tx.find_batch(batch.id)
            if tx.finish_job(job, state="done", at_ms=outbox.now_ms) and now is not None:
                step(tx, now, outbox)

        await self._units.write(unit)

    async def _read(self, job: Job, batch: Batch) -> None:
        if batch.state != "reading":
            await self._finish(job)
            return
        # the window was acknowledged by what was known of who sent it
        _, refused = await self._access.check_stored(
            permission_of("view", VIEW),
            batch.requested_by,
            team_id=batch.workspace,
            way=f"view:{VIEW}",
            attempts=job.attempts,
        )
        if refused:
            await self._change(job, batch, lambda tx, now, outbox: self._end(tx, now, "refused", [refused], outbox))
            return
        try:
            rows = read_list(await self._fetch(batch.file_id))
        except BadList as bad:
            why = _say(bad.key, batch.lang, **bad.values)
            lines = [_say("unread", batch.lang, why=why)]
            await self._change(job, batch, lambda tx, now, outbox: self._end(tx, now, "refused", lines, outbox))
            return
        preview = _Preview(lines=len(rows))
        seen: set[str] = set()
        for start in range(0, len(rows), _READ_AT_ONCE):
            some = rows[start : start + _READ_AT_ONCE]
            await self._store.read(lambda tx, some=some: self._look(tx, batch, some, seen, preview))  # type: ignore[misc]
        budget = await self._budget()
        lines, may_send = self._preview_lines(batch, preview, budget)

        def unit(tx: Tx, now: Batch, outbox: Outbox) -> None:
            if not may_send:
                self._end(tx, now, "refused", lines, outbox)
                return
            tx.put_batch(replace(now, state="ready"))
            tx.put_batch_rows(now.id, preview.customers)
            self._post(tx, now, lines, outbox, buttons=("send", "cancel"))
            self._queue(tx, outbox, BulkJob(now.id, "expire"), due_ms=outbox.now_ms + _KEPT_MS)

        await self._change(job, batch, unit)

    async def _fetch(self, file_id: str) -> bytes:
        try:
            told = await self._call("files.info", {"file": file_id}, harmless=True)
            file = _dict(told.get("file"))
            size = file.get("size")
            if isinstance(size, int) and size > FILE_LIMIT:
                raise BadList("bad.size")
            return await self._download(str(file.get("url_private_download") or ""), limit=FILE_LIMIT)
        except SlackError as failed:
            if isinstance(failed.outcome, Refused):
                log.warning("bulk_file_refused", reason=failed.code)
                raise BadList("bad.gone") from failed
            raise  # later, by the worker

    def _look(self, tx: Tx, batch: Batch, rows: Iterable[ListedRow], seen: set[str], preview: _Preview) -> None:
        """Who is named, and whether they may be asked."""
        for row in rows:
            named = tx.customers_of_order(row.word) if row.by_order else [row.word]
            customer = tx.find_customer(named[0]) if len(named) == 1 else None
            if customer is None:
                preview.unknown.append(row.line)
                continue
            if customer.id in seen:
                preview.twice += 1
                continue
            seen.add(customer.id)
            preview.customers.append((row.line, customer.id))
            found = self._invitations.eligibility(tx, self._request(batch, row.line, customer.id), self._clock.now_ms())
            match found:
                case Eligibility(refused=None):
                    preview.channels[found.channel] += 1
                    preview.later += found.opens_ms > found.due_ms
                case Eligibility(refused=NotAllowed(reason=reason)) | NotAllowed(reason=reason):
                    preview.blocked[reason] += 1

    def _preview_lines(self, batch: Batch, preview: _Preview, budget: Budget | str | None) -> tuple[list[str], bool]:
        """What the person reads before anything is sent, and whether it can be sent at all."""
        lang = batch.lang
        lines = [self._head(batch)]
        lines.append(_say("rows", lang, lines=f"{preview.lines:,}", customers=f"{len(preview.customers):,}"))
        if preview.twice:
            lines.append(_say("twice", lang, n=f"{preview.twice:,}"))
        if preview.unknown:
            shown = (", " if lang == "en" else "、").join(str(line) for line in preview.unknown[:_LINES_NAMED])
            shown += "…" if len(preview.unknown) > _LINES_NAMED else ""
            lines.append(_say("unknown", lang, n=f"{len(preview.unknown):,}", lines=shown))
        count, line = preview.channels.total(), preview.channels["line"]
        lines.append(_say("may", lang, n=f"{count:,}", line=f"{line:,}", slack=f"{preview.channels['slack']:,}"))
        if preview.later:
            lines.append(_say("later", lang, n=f"{preview.later:,}"))
        if preview.blocked:
            lines.append(_say("may_not", lang, n=f"{preview.blocked.total():,}"))
            lines += self._reason_lines(preview.blocked, lang)
        left = budget.left if isinstance(budget, Budget) else None
        key = "line.open" if left is None else "line.left"
        lines.append(_say(key, lang, n=f"{line:,}", left=f"{left or 0:,}"))
        if not count:
            return [*lines, _say("nobody", lang)], False
        if left is not None and line > left:
            return [*lines, _say("line.short", lang)], False
        return lines, True

    def _reason_lines(self, counts: Mapping[str, int], lang: str) -> list[str]:
        """A line per reason, in the order of the rules."""
        known = [reason for reason in (*REASONS, "unknown_customer", "unknown_flow") if counts.get(reason)]
        return [
            _say(
                "other" if RULES.get(reason) is None else "rule",
                lang,
                rule=RULES.get(reason),
                why=reason_phrase(limited(self._contact, reason), lang, self._tz),
                n=f"{counts[reason]:,}",
            )
            for reason in known
        ]

    async def _clicked(self, job: Job, batch: Batch, wanted: BulkJob) -> None:
        action = SEND if wanted.step == "confirm" else CANCEL
        _, refused = await self._access.check_stored(
            permission_of("action", action),
            wanted.user_id,
            team_id=wanted.team_id,
            way=f"action:{action}",
            attempts=job.attempts,
        )
        if refused:
            await self._finish(job)
            await self._teller.tell(wanted.user_id, refused, url=wanted.url)
            return
        actor = f"slack:{wanted.team_id}:{wanted.user_id}"

        def confirm(tx: Tx, now: Batch, outbox: Outbox) -> None:
            if now.state != "ready":
                return  # pressed twice, or too late
            tx.put_batch(replace(now, state="sending"))
            total = tx.batch_counts(now.id).total()
            tx.audit(AuditEntry(outbox.new_id(), outbox.now_ms, actor, "bulk.send", now.id, f"{now.flow_id}: {total}"))
            self._queue(tx, outbox, BulkJob(now.id, "send"))

        def cancel(tx: Tx, now: Batch, outbox: Outbox) -> None:
            if now.state not in ("ready", "sending"):
                return
            counts = tx.batch_counts(now.id)
            done = counts.total() - counts[""]
            key = "dropped" if now.state == "ready" else "cancelled"
            tx.audit(AuditEntry(outbox.new_id(), outbox.now_ms, actor, "bulk.cancel", now.id, f"{now.flow_id}: {done}"))
            lines = [self._head(now), _say(key, now.lang, done=f"{done:,}", total=f"{counts.total():,}")]
            self._end(tx, now, "cancelled", lines + self._outcome_lines(counts, now.lang), outbox)

        await self._change(job, batch, confirm if wanted.step == "confirm" else cancel)

    def _send_some(self, tx: Tx, batch: Batch, outbox: Outbox) -> None:
        """Start the survey for the next customers; their outcome is stored with what is queued for them."""
        if batch.state != "sending":
            return
        for line, customer_id in tx.open_batch_rows(batch.id, limit=_SEND_AT_ONCE):
            match self._invitations.start_by_staff(tx, self._request(batch, line, customer_id), outbox):
                case NotAllowed(reason=reason):
                    tx.settle_batch_row(batch.id, line, reason)
                case Started() | Planned():
                    tx.settle_batch_row(batch.id, line, "sent")
        counts = tx.batch_counts(batch.id)
        total, left = counts.total(), counts[""]
        if not left:
            lines = [self._head(batch), _say("done", batch.lang, total=f"{total:,}")]
            self._end(tx, batch, "done", lines + self._outcome_lines(counts, batch.lang), outbox)
            return
        lines = [self._head(batch), _say("sending", batch.lang, done=f"{total - left:,}", total=f"{total:,}")]
        self._post(tx, batch, lines, outbox, buttons=("stop",))
        self._queue(tx, outbox, BulkJob(batch.id, "send"), due_ms=outbox.now_ms + _PACE_MS)

    def _outcome_lines(self, counts: Mapping[str, int], lang: str) -> list[str]:
        sent = [_say("sent", lang, n=f"{counts['sent']:,}")] if counts.get("sent") else []
        return [*sent, *self._reason_lines(counts, lang)]

    def _expire(self, tx: Tx, batch: Batch, outbox: Outbox) -> None:
        if batch.state == "ready":
            self._end(tx, batch, "expired", [self._head(batch), _say("expired", batch.lang)], outbox)

    def _end(self, tx: Tx, batch: Batch, state: str, lines: Sequence[str], outbox: Outbox) -> None:
        """The last word about a batch. Its list is forgotten: what was decided stands with the invitations."""
        tx.put_batch(replace(batch, state=state))
        tx.forget_batch_rows(batch.id)
        self._post(tx, batch, lines, outbox)

    # -------------------- its message

    def _head(self, batch: Batch) -> str:
        name = next((flow.name for flow in self._flows(batch.lang) if flow.id == batch.flow_id), batch.flow_id)
        return _say("head", batch.lang, flow=name)

    def _post(self, tx: Tx, batch: Batch, lines: Sequence[str], outbox: Outbox, *, buttons: Sequence[str] = ()) -> None:
        """Post the batch's one message to the person who asked for it, or bring it up to date."""
        shown: list[JsonObject] = [kit.words((lines[0], True), ("\n" + "\n".join(lines[1:]), False))]
        row = []
        for name in buttons:
            if name == "send":
                row.append(kit.button(_say("send", batch.lang), SEND, batch.id, style="primary"))
            else:
                row.append(kit.button(_say(name, batch.lang), CANCEL, batch.id))
        if row:
            shown.append(kit.actions(row))
        args: JsonObject = {"text": escape(cut(" ".join(lines[:2]), 300)), "blocks": shown}
        payload: JsonObject = {"method": "chat.postMessage", "args": args, "open": batch.requested_by}
        key, lane = f"bulk:{batch.id}", f"bulk:{batch.id}"
        if batch.message_ref:
            payload, key = {"method": "chat.update", "args": args, "ref": batch.message_ref}, ""
        outbox.queue(tx, "send", payload, lane=lane, key=key, channel="slack")

    def posted(self, tx: Tx, batch_id: str, ref: str) -> None:
        """The message stands at `ref`."""
        batch = tx.find_batch(batch_id)
        if batch is not None:
            tx.put_batch(replace(batch, message_ref=ref))

    # -------------------- small things

    def _request(self, batch: Batch, line: int, customer_id: str) -> SurveyRequest:
        return SurveyRequest(
            request_id=f"bulk:{batch.id}:{line}",
            flow_id=batch.flow_id,
            customer_id=customer_id,
            at_ms=None,
            note=batch.note,
            requested_by=batch.requested_by,
            workspace=batch.workspace,
            channel=batch.channel,
        )

    def _queue(self, tx: Tx, outbox: Outbox, wanted: BulkJob, *, due_ms: int | None = None, key: str = "") -> bool:
        return outbox.queue(tx, "bulk", wanted, due_ms=due_ms, key=key)


def render_bulk_view(flows: Sequence[FlowOption], *, channels: Sequence[str], lang: str) -> JsonObject:
    """The window in which a list is dropped."""
    options = [kit.option(flow.name or flow.id, flow.id) for flow in flows[:100]]
    ways = [kit.option(_say(f"channel.{way}", lang), way) for way in ("any", *channels)]
    picker: JsonObject = {
        "type": "static_select",
        "action_id": "flow",
        "options": options,
        "initial_option": options[0],
    }
    where: JsonObject = {
        "type": "static_select",
        "action_id": "channel",
        "options": ways,
        "initial_option": ways[0],
    }
    dropped: JsonObject = {"type": "file_input", "action_id": "file", "filetypes": ["csv"], "max_files": 1}
    body = [
        kit.field("flow", _say("flow", lang), picker),
        kit.field("file", _say("file", lang), dropped, hint=_say("file.hint", lang)),
        *([kit.field("channel", _say("channel", lang), where)] if len(channels) > 1 else []),
        kit.text_input("note", _say("note", lang), limit=_NOTE_LIMIT, multiline=True, optional=True),
    ]
    return kit.modal(
        VIEW,
        _say("title", lang),
        body,
        close=_say("cancel", lang),
        submit=_say("check", lang),
        private=window_private(lang),
    )


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
