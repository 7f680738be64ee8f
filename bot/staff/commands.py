"""`/survey WORD …`: what staff ask and tell Koe in a line. Each is a job that is stored before the acknowledgement, so
that nothing is lost when the process dies in between; what opens a window is done after it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import structlog

from bot.channel import JsonObject
from bot.clock import Clock
from bot.digests import DigestFailed, results_request
from bot.dry_run import DryRun, dry_run, lines_of
from bot.outbox import Outbox, Units
from bot.slack import blocks as kit
from bot.slack.words import cut, storable
from bot.staff.access import Access, acting_person, permission_of
from bot.staff.asking import Budget, CustomerHit, limited
from bot.staff.bulk import BulkDesk
from bot.staff.home import WINDOW_DAYS, HomeFacts, Running, wilson
from bot.staff.people import Person
from bot.staff.reasons import day_text, reason_phrase, time_text, who_text
from bot.staff.survey import COMMAND, SurveyDesk
from bot.staff.telling import Respond, Teller
from flows.triggers import DAY_MS, TriggerRule, parse_duration
from storage.records import AuditEntry, Customer, Invitation, Job
from storage.store import Store, Tx

if TYPE_CHECKING:
    from bot.config import Config
    from bot.digests import Digests

log = structlog.get_logger(__name__)

STORED: Final = frozenset(("status", "results", "digest", "find", "dry-run", "pause", "resume"))
"""Words that are a job each. The others open a window, for which there are three seconds, or show the help."""
_PATIENCE_S: Final = (2.0, 20.0, 120.0)
"""After so long, then after so long again, somebody who waits is told how far it is. A response_url takes five messages
within half an hour; the answer is one of them."""
_WINDOW_MS = 30 * DAY_MS
_LONGEST_MS = 366 * DAY_MS
_SURVEYS_SHOWN = 30
_FOUND_SHOWN = 5
_T = TypeVar("_T")
_WEEK = re.compile(r"\d{4}-W(0[1-9]|[1-4]\d|5[0-3])")

_TEXTS: Final[Mapping[str, tuple[str, str]]] = {
    "help": (
        "{c}　お客さまを選んで、アンケートを送ります。\n"
        "{c} status　実施中のアンケートと、処理待ちの件数\n"
        "{c} results NPS 30d　指標と期間（7d、4w など）の集計\n"
        "{c} digest [2026-W46] [post]　週次レポートの確認（post で投稿）\n"
        "{c} find お客さま　番号・お名前・注文番号で調べます。\n"
        "{c} pause アンケート　新しいご案内を休止します。\n"
        "{c} resume アンケート　休止を終えます。\n"
        "{c} dry-run ルール [30d]　配信ルールを過去の出来事で試算します（送りません）。\n"
        "{c} bulk　お客さまの一覧（CSV）に、まとめて送ります。\n"
        "{c} help　この説明を表示します。",
        "{c}  choose a customer and send a survey\n"
        "{c} status  running surveys, and what waits\n"
        "{c} results NPS 30d  a metric and a window (7d, 4w …)\n"
        "{c} digest [2026-W46] [post]  look at a weekly digest (post: into its channel)\n"
        "{c} find CUSTOMER  by id, name or order number\n"
        "{c} pause SURVEY  invite nobody for the time being\n"
        "{c} resume SURVEY  go on inviting\n"
        "{c} dry-run RULE [30d]  what a trigger rule would have sent (nothing is sent)\n"
        "{c} bulk  send a survey to a list of customers (CSV)\n"
        "{c} help  show this",
    ),
    "status": ("実施中のアンケート（直近{days}日のご案内）", "Surveys (invitations of the last {days} days)"),
    "status.none": ("この期間のご案内はありません。", "Nobody was invited in this time."),
    "status.few": (
        "{name}：ご案内が10件未満のため、表示しません。",
        "{name}: fewer than 10 invitations, not shown.",
    ),
    "status.few_answers": (
        "{name}：ご案内 {n}。回答が10件未満のため、表示しません。",
        "{name}: invited {n}; fewer than 10 answers, not shown.",
    ),
    "status.line": (
        "{name}：ご案内 {n}・回答 {k}（{rate}%、95%信頼区間 {low}〜{high}%）・完了 {done}",
        "{name}: invited {n}, answered {k} ({rate}%, 95% CI {low} to {high}%), completed {done}",
    ),
    "status.caution": ("・参考値", ", for reference only"),
    "status.paused": ("休止中：{name}（{at}から）", "Paused: {name} (since {at})"),
    "status.queue": (
        "処理待ち：これからのご案内 {planned}件、期限を過ぎた処理 {overdue}件、送れなかったもの {dead}件",
        "Waiting: {planned} invitations to come, {overdue} jobs overdue, {dead} given up",
    ),
    "flow.which": ("どのアンケートですか。{known}", "Which survey? {known}"),
    "flow.unknown": (
        "アンケート「{name}」はありません。{known}",
        "There is no survey “{name}”. {known}",
    ),
    "flow.known": ("使えるのは：{names}", "There are: {names}"),
    "paused": (
        "「{name}」を休止しました。新しいご案内と再案内は送りません。回答中の方は、そのまま続けられます。",
        "“{name}” is paused: no new invitations and no reminders. Whoever is answering can go on.",
    ),
    "paused.already": ("「{name}」は、すでに休止中です。", "“{name}” is paused already."),
    "resumed": (
        "「{name}」を再開しました。休止中に見送ったご案内は、送り直しません。",
        "“{name}” goes on. Invitations that were skipped meanwhile are not sent again.",
    ),
    "resumed.already": ("「{name}」は、休止していません。", "“{name}” is not paused."),
    "results.how": (
        "指標と期間をご入力ください。例：{c} results NPS 30d",
        "Name a metric and a window, for example: {c} results NPS 30d",
    ),
    "results.metric": ("指標「{name}」はありません。{known}", "There is no metric “{name}”. {known}"),
    "results.window": (
        "期間「{name}」は読み取れません。7d、4w のように、366日までで入力してください。",
        "“{name}” is not a window. Write 7d or 4w, 366 days at most.",
    ),
    "results.failed": (
        "集計できませんでした。少し待って、もう一度お試しください。",
        "It could not be computed. Please try again in a moment.",
    ),
    "results.computing": (
        "集計しています。終わり次第、結果をお知らせします。",
        "Computing. You get the result as soon as it is there.",
    ),
    "digest.none": ("koe.yaml にレポートの設定がありません。", "koe.yaml has no digest."),
    "digest.week": ("「{name}」は読み取れません。例：2026-W46", "“{name}” is not a week. Write 2026-W46."),
    "digest.early": ("{week}は、まだ終わっていません。", "{week} is not over yet."),
    "digest.posted": ("{week}のレポートを投稿します。", "The digest of {week} is being posted."),
    "digest.again": ("{week}のレポートは、すでに投稿されています。", "The digest of {week} was posted already."),
    "digest.shown": ("{week}のレポート（あなただけに表示しています）", "Digest of {week} (only you see this)"),
    "dry.how": ("どのルールですか。{known}", "Which rule? {known}"),
    "dry.unknown": ("ルール「{name}」はありません。{known}", "There is no rule “{name}”. {known}"),
    "dry.computing": (
        "試算しています。終わり次第、結果をお知らせします。",
        "Computing. You get the result as soon as it is there.",
    ),
    "dry.progress": (
        "試算しています（{planned}件のうち{done}件まで）。",
        "Computing: {done} of {planned} so far.",
    ),
    "dry.head": (
        "{rule}の試算（{first}〜{last}の出来事、何も送っていません）",
        "{rule} on the events of {first} to {last} (nothing was sent)",
    ),
    "dry.events": (
        "対象の出来事 {events}件、ルールに合うもの {matched}件",
        "{events} events, {matched} match the rule",
    ),
    "dry.rhythm": ("定期のご案内 {matched}件", "{matched} invitations by the rhythm"),
    "dry.sent": (
        "送るはずだったもの：{n}件（LINE {line}件、Slack {slack}件）",
        "Would have been sent: {n} (LINE {line}, Slack {slack})",
    ),
    "dry.blocked": ("送らなかったもの：{n}件", "Would not: {n}"),
    "dry.rule": ("・ルール{rule}　{why}：{n}件", "· rule {rule}: {why} ({n})"),
    "dry.other": ("・{why}：{n}件", "· {why} ({n})"),
    "dry.withdrawn": ("・取り消し（{events}）：{n}件", "· withdrawn by {events} ({n})"),
    "dry.ahead": ("まだ時期が来ていないもの：{n}件", "Not due yet: {n}"),
    "dry.line": ("LINE通数：{n}通", "LINE messages: {n}"),
    "dry.reminders": (
        "LINE通数：{n}通、再案内があれば最大でさらに{n}通",
        "LINE messages: {n}, and up to {n} more for reminders",
    ),
    "dry.left": ("今月の残り：{left}通", "Left this month: {left}"),
    "find.failed": (
        "お調べした結果を表示できませんでした。お手数ですが、もう一度ご入力ください。",
        "What was found could not be shown. Please type the command once more.",
    ),
    "find.how": ("例：{c} find C001", "For example: {c} find C001"),
    "find.none": (
        "「{name}」に当てはまるお客さまはいません。",
        "No customer matches “{name}”.",
    ),
    "find.more": ("ほか{n}人", "{n} more"),
    "find.reach": ("連絡先：{channels}", "Reached by: {channels}"),
    "find.nowhere": ("なし", "nothing"),
    "find.blocked": ("{channel}（ブロック中）", "{channel} (blocked)"),
    "find.flags": (
        "アンケートの停止：{stopped}・対応中のご相談：{case}",
        "Stopped surveys: {stopped} · Open case: {case}",
    ),
    "find.none_sent": ("これまでのご案内はありません。", "Never invited so far."),
    "find.sent": ("{at}{flow}：{state}", "{at} {flow}: {state}"),
    "few": ("10件未満", "fewer than 10"),
    "yes": ("あり", "yes"),
    "no": ("なし", "no"),
}  # fmt: skip
_STATES: Final[Mapping[str, tuple[str, str]]] = {
    "planned": ("予定", "planned"),
    "sent": ("送信済み", "sent"),
    "skipped": ("見送り", "not sent"),
    "withdrawn": ("取り消し", "withdrawn"),
    "completed": ("回答完了", "answered"),
    "partial": ("途中まで回答", "answered in part"),
}
_CHANNELS: Final = {"line": "LINE", "slack": "Slack"}


def _say(key: str, lang: str, **values: object) -> str:
    ja, en = _TEXTS[key]
    return (en if lang == "en" else ja).format(c=COMMAND, **values)


class CommandWanted(msgspec.Struct, frozen=True):
    """Body of a "command" job: who typed what, and where the answer goes."""

    user_id: str
    team_id: str
    text: str
    url: str


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the person reads: a sentence, and blocks where it is more than that."""

    text: str
    blocks: tuple[JsonObject, ...] = ()


class CommandDesk:
    """Answers `/survey` with words behind it.

    Args:
        respond: Tells the person who waits how far it is.
        failure: Its exception.
        teller: Gives the answer.
        facts: What App Home shows.
    """

    def __init__(
        self,
        respond: Respond,
        *,
        failure: type[Exception],
        teller: Teller,
        access: Access,
        survey: SurveyDesk,
        bulk: BulkDesk | None,
        facts: Callable[[], Awaitable[HomeFacts]],
        find: Callable[[Tx, str], Sequence[CustomerHit]],
        channels: Collection[str],
        budget: Callable[[], Awaitable[Budget | str | None]],
        digests: Digests,
        config: Config,
        store: Store,
        clock: Clock,
        units: Units,
    ) -> None:
        self._respond = respond
        self._failure = failure
        self._teller = teller
        self._access = access
        self._survey = survey
        self._bulk = bulk
        self._facts = facts
        self._find = find
        self._channels = channels
        self._budget = budget
        self._digests = digests
        self._config = config
        self._shop = config.shop
        self._library = config.library
        self._store = store
        self._clock = clock
        self._units = units

    def help_text(self, lang: str) -> str:
        """What can be typed."""
        return _say("help", lang)

    # -------------------- after the acknowledgement

    async def answer(self, body: Mapping[str, Any], person: Person) -> str:
        """The answer to a word that is not stored; "" when a window was opened instead."""
        match _split(str(body.get("text") or ""))[0]:
            case "":
                await self._survey.open(body, person)
                return ""
            case "bulk" if self._bulk is not None:
                await self._bulk.open(body, person)
                return ""
            case _:
                return self.help_text(person.lang)

    async def _status(self, wanted: CommandWanted, lang: str) -> str:
        facts = await self._facts()
        reads = await self._access.may("read_comments", wanted.user_id, team_id=wanted.team_id)
        lines = [_say("status", lang, days=WINDOW_DAYS)]
        lines += [_status_line(survey, lang, reads_answers=reads) for survey in facts.surveys[:_SURVEYS_SHOWN]]
        if not facts.surveys:
            lines.append(_say("status.none", lang))
        for ja, en, since_ms in facts.paused:
            lines.append(_say("status.paused", lang, name=en if lang == "en" else ja, at=self._at(since_ms, lang)))
        health = facts.health
        lines.append(_say("status.queue", lang, planned=facts.planned, overdue=health.overdue, dead=health.dead))
        return "\n".join(lines)

    async def _results(self, rest: str, wanted: CommandWanted, lang: str) -> str:
        words = rest.split()
        if not words:
            return _say("results.how", lang)
        metric = self._instrument(words[0])
        if metric is None:
            known = ", ".join(name for name, i in self._library.instruments.items() if i.kind != "text")
            return _say("results.metric", lang, name=cut(words[0], 60), known=_say("flow.known", lang, names=known))
        window_ms = _window_ms(words[1:])
        if window_ms is None:
            return _say("results.window", lang, name=cut(words[1], 60))
        request = results_request(
            self._config, metric=metric, days=window_ms // DAY_MS, lang=lang, now_ms=self._clock.now_ms()
        )
        try:
            computed = await self._patiently(
                self._digests.ask_child("results", request), wanted, lambda: _say("results.computing", lang)
            )
        except DigestFailed as failed:
            log.error("results_failed", reason=str(failed))
            return _say("results.failed", lang)
        return str(computed["text"])

    def _instrument(self, name: str) -> str | None:
        wanted = name.casefold().strip("®").replace("-", "_")
        for instrument_id, instrument in self._library.instruments.items():
            names = {instrument_id, instrument.name.ja, instrument.name.en}
            if instrument.kind != "text" and wanted in {one.casefold().strip("®") for one in names}:
                return instrument_id
        return None

    async def _dry_run(self, rest: str, wanted: CommandWanted, lang: str) -> str:
        words = rest.split()
        known = _say("flow.known", lang, names=", ".join(rule.id for rule in self._shop.triggers))
        if not words:
            return _say("dry.how", lang, known=known)
        rule = next((rule for rule in self._shop.triggers if rule.id == words[0]), None)
        if rule is None:
            return _say("dry.unknown", lang, name=cut(words[0], 60), known=known)
        window_ms = _window_ms(words[1:])
        if window_ms is None:
            return _say("results.window", lang, name=cut(words[1], 60))
        done = planned = 0

        def note(so_far: int, of_all: int) -> None:
            nonlocal done, planned
            done, planned = so_far, of_all

        def how_far() -> str:
            if not planned:
                return _say("dry.computing", lang)
            return _say("dry.progress", lang, done=f"{done:,}", planned=f"{planned:,}")

        running = dry_run(
            self._store,
            shop=self._shop,
            flow=self._library.flows[rule.flow],
            rule=rule,
            channels=self._channels,
            now_ms=self._clock.now_ms(),
            days=window_ms // DAY_MS,
            progress=note,
        )
        found = await self._patiently(running, wanted, how_far)
        return "\n".join(self._dry_lines(found, rule, await self._budget(), lang))

    async def _patiently(self, work: Coroutine[Any, Any, _T], wanted: CommandWanted, how_far: Callable[[], str]) -> _T:
        """What the work gives; who waits for it is told now and then how far it is."""
        running = asyncio.ensure_future(work)
        try:
            for pause_s in _PATIENCE_S:
                if (await asyncio.wait({running}, timeout=pause_s))[0]:
                    break
                try:
                    await self._respond(wanted.url, how_far(), ())
                except self._failure as failed:
                    log.info("slack_progress_not_told", reason=str(failed))
            return await running
        finally:
            running.cancel()

    def _dry_lines(self, found: DryRun, rule: TriggerRule, budget: Budget | str | None, lang: str) -> Iterator[str]:
        """Counts, and nobody's name: whom it would have been is for the terminal."""
        first, last = (day_text(at_ms, lang, self._shop.tz) for at_ms in (found.start_ms, found.end_ms))
        yield _say("dry.head", lang, rule=rule.id, first=first, last=last)
        how = "dry.events" if rule.every_ms is None else "dry.rhythm"
        yield _say(how, lang, events=f"{found.events:,}", matched=f"{found.matched:,}")
        line = found.line_messages
        sent = len(found.sent)
        yield _say("dry.sent", lang, n=f"{sent:,}", line=f"{line:,}", slack=f"{sent - line:,}")
        held = sum(found.blocked.values()) + found.withdrawn
        if held:
            yield _say("dry.blocked", lang, n=f"{held:,}")
        for reason, number, count in lines_of(found):
            why = reason_phrase(limited(self._shop.contact, reason), lang, self._shop.tz)
            yield _say("dry.other" if number is None else "dry.rule", lang, rule=number, why=why, n=f"{count:,}")
        if found.withdrawn:
            yield _say("dry.withdrawn", lang, events=", ".join(rule.void_on), n=f"{found.withdrawn:,}")
        if found.ahead:
            yield _say("dry.ahead", lang, n=f"{found.ahead:,}")
        yield _say("dry.reminders" if found.reminders else "dry.line", lang, n=f"{line:,}")
        if isinstance(budget, Budget) and budget.left is not None:
            yield _say("dry.left", lang, left=f"{budget.left:,}")

    async def _find_customer(self, rest: str, lang: str) -> str:
        named = storable(rest).strip()[:100]
        if not named:
            return _say("find.how", lang)

        def look(tx: Tx) -> list[str]:
            found = self._find(tx, named)
            lines: list[str] = []
            for hit in found[:_FOUND_SHOWN]:
                customer = tx.find_customer(hit.id)
                if customer is not None:
                    lines.append("\n".join(self._customer_lines(tx, customer, lang)))
            if len(found) > _FOUND_SHOWN:
                lines.append(_say("find.more", lang, n=len(found) - _FOUND_SHOWN))
            return lines

        lines = await self._store.read(look)
        return "\n\n".join(lines) or _say("find.none", lang, name=cut(named, 60))

    def _customer_lines(self, tx: Tx, customer: Customer, lang: str) -> list[str]:
        def yes(flag: bool) -> str:
            return _say("yes" if flag else "no", lang)

        reached = [
            _CHANNELS.get(a.channel, a.channel)
            if a.blocked_ms is None
            else _say("find.blocked", lang, channel=_CHANNELS.get(a.channel, a.channel))
            for a in tx.addresses_of(customer.id)
        ]
        lines = [
            who_text(CustomerHit(customer.id, cut(customer.name, 80)), lang),
            _say("find.reach", lang, channels=", ".join(reached) or _say("find.nowhere", lang)),
            _say(
                "find.flags",
                lang,
                stopped=yes(tx.consent(customer.id, "surveys") is False),
                case=yes(tx.open_case(customer.id) is not None),
            ),
        ]
        surveys = [self._survey_line(tx, one, lang) for one in tx.invitations_of(customer.id, limit=_FOUND_SHOWN)]
        return [*lines, *(surveys or [_say("find.none_sent", lang)])]

    def _survey_line(self, tx: Tx, invitation: Invitation, lang: str) -> str:
        session = tx.find_session(invitation.session_id) if invitation.session_id else None
        known = _STATES.get(session.status if session is not None else "") or _STATES[invitation.state]
        at_ms = invitation.sent_ms or invitation.due_ms
        state = known[lang == "en"]
        return _say(
            "find.sent",
            lang,
            at=day_text(at_ms, lang, self._shop.tz),
            flow=self._name(invitation.flow_id, lang),
            state=state,
        )

    # -------------------- stored before the acknowledgement

    async def take(self, body: Mapping[str, Any], *, key: str, workspace: str) -> bool:
        """Whether this is a command that is a job: then it is stored, once."""
        if body.get("command") != COMMAND:
            return False
        text = storable(str(body.get("text") or ""))[:500]
        if _split(text)[0] not in STORED:
            return False
        user_id, team_id = acting_person(body)
        wanted = CommandWanted(user_id, team_id, text, str(body.get("response_url") or ""))

        def unit(tx: Tx, outbox: Outbox) -> None:
            if tx.note_inbound("slack", workspace, key, outbox.now_ms):
                outbox.queue(tx, "command", wanted)

        await self._units.write(unit)
        return True

    async def run(self, job: Job) -> None:
        """A "command" job: who was that, may they, and then it is done and answered. What was typed is forgotten then:
        it may be a customer's name."""
        wanted = msgspec.json.decode(job.payload, type=CommandWanted)
        word, rest = _split(wanted.text)
        person, refused = await self._access.check_stored(
            permission_of("command", word),
            wanted.user_id,
            team_id=wanted.team_id,
            way=f"command:{word}",
            attempts=job.attempts,
        )
        answer = _Answer(refused) if refused else await self._answer_of(job, word, rest, wanted, person)
        now_ms = self._clock.now_ms()
        await self._store.write(lambda tx: tx.finish_job(job, state="done", at_ms=now_ms, forget=True))
        # it is done all the same when nobody can be told
        otherwise = _say("find.failed", person.lang) if word == "find" and not refused else ""
        await self._teller.tell(wanted.user_id, answer.text, url=wanted.url, blocks=answer.blocks, otherwise=otherwise)

    async def _answer_of(self, job: Job, word: str, rest: str, wanted: CommandWanted, person: Person) -> _Answer:
        match word:
            case "digest":
                return await self._digest(rest, wanted, person)
            case "status":
                return _Answer(await self._status(wanted, person.lang))
            case "results":
                return _Answer(await self._results(rest, wanted, person.lang))
            case "find":
                return _Answer(await self._find_customer(rest, person.lang))
            case "dry-run":
                return _Answer(await self._dry_run(rest, wanted, person.lang))
            case _:
                return _Answer(await self._switch(job, word, rest, wanted, person.lang))

    async def _switch(self, job: Job, word: str, rest: str, wanted: CommandWanted, lang: str) -> str:
        """Pause a survey or go on with it, once, with its audit row."""
        known = _say("flow.known", lang, names=", ".join(self._library.flows))
        if not rest:
            return _say("flow.which", lang, known=known)
        flow_id = self._flow(rest)
        if flow_id is None:
            return _say("flow.unknown", lang, name=cut(rest, 60), known=known)
        actor = f"slack:{wanted.team_id}:{wanted.user_id}"

        def unit(tx: Tx, outbox: Outbox) -> bool | None:
            if not tx.finish_job(job, state="done", at_ms=outbox.now_ms, forget=True):
                return None
            pausing = word == "pause"
            changed = tx.pause_flow(flow_id, outbox.now_ms, actor) if pausing else tx.resume_flow(flow_id)
            if changed:
                tx.audit(AuditEntry(outbox.new_id(), outbox.now_ms, actor, f"survey.{word}", flow_id, ""))
            return changed

        changed = await self._units.write(unit)
        key = "paused" if word == "pause" else "resumed"
        return _say(key if changed is not False else f"{key}.already", lang, name=self._name(flow_id, lang))

    async def _digest(self, rest: str, wanted: CommandWanted, person: Person) -> _Answer:
        """The digest of a week for this person alone, or posted once for who may."""
        lang, words = person.lang, rest.split()
        weekly = [rule for rule in self._shop.digests if rule.every == "week"]
        if not weekly:
            return _Answer(_say("digest.none", lang))
        posting = "post" in [word.lower() for word in words]
        if posting:
            _, refused = await self._access.check(
                "manage", wanted.user_id, team_id=wanted.team_id, way="command:digest post"
            )
            if refused is not None:
                return _Answer(refused.sentence)
        weeks = [word for word in words if word.lower() != "post"]
        now_ms = self._clock.now_ms()
        last = self._digests.last_week(now_ms)
        week = weeks[0].upper() if weeks else last
        if not _WEEK.fullmatch(week):
            return _Answer(_say("digest.week", lang, name=cut(week, 60)))
        if week > last:
            return _Answer(_say("digest.early", lang, week=week))
        rule = next((r for r in weekly if (r.language or self._shop.language) == lang), weekly[0])
        if posting and await self._store.read(lambda tx: tx.find_digest(rule.id, week)) is not None:
            return _Answer(_say("digest.again", lang, week=week))
        try:
            computed = await self._patiently(
                self._digests.compute(rule, week, now_ms, page=posting), wanted, lambda: _say("results.computing", lang)
            )
        except DigestFailed as failed:
            log.error("digest_failed", reason=str(failed))
            return _Answer(_say("results.failed", lang))
        if not posting:
            head = kit.small_plain(_say("digest.shown", lang, week=week))
            return _Answer(_say("digest.shown", lang, week=week), (head, *computed["slack"]["blocks"])[:50])

        def unit(tx: Tx, outbox: Outbox) -> bool:
            actor = f"slack:{wanted.team_id}:{wanted.user_id}"
            queued = self._digests.queue_post(tx, rule, week, computed, outbox)
            if queued:
                tx.audit(AuditEntry(outbox.new_id(), now_ms, actor, "digest.post", f"{rule.id} {week}", ""))
            return queued

        queued = await self._units.write(unit)
        return _Answer(_say("digest.posted" if queued else "digest.again", lang, week=week))

    # -------------------- names

    def _flow(self, named: str) -> str | None:
        wanted = named.strip().casefold()
        for flow_id, flow in self._library.flows.items():
            if wanted in (flow_id.casefold(), flow.name_in("ja").casefold(), flow.name_in("en").casefold()):
                return flow_id
        return None

    def _name(self, flow_id: str, lang: str) -> str:
        flow = self._library.flows.get(flow_id)
        return flow_id if flow is None else flow.name_in(lang)

    def _at(self, at_ms: int, lang: str) -> str:
        return time_text(at_ms, lang, self._shop.tz)


def _window_ms(words: Sequence[str]) -> int | None:
    """The window somebody typed ("30d", "4w"), 30 days when they did not; None when it is none, or longer than a
    year."""
    try:
        window_ms = parse_duration(words[0].lower()) if words else _WINDOW_MS
    except ValueError:
        return None
    return window_ms if DAY_MS <= window_ms <= _LONGEST_MS else None


def _split(text: str) -> tuple[str, str]:
    """The word behind the command in small letters, and the rest."""
    word, _, rest = text.strip().partition(" ")
    return word.lower(), rest.strip()


def _status_line(survey: Running, lang: str, *, reads_answers: bool) -> str:
    name, n, k = cut(survey.en if lang == "en" else survey.ja, 80), survey.invited, survey.answered
    if not survey.shown_to(reads_answers=reads_answers):
        return _say("status.few" if n < 10 else "status.few_answers", lang, name=name, n=f"{n:,}")
    few_done = not reads_answers and 0 < survey.completed < 10
    low, high = wilson(k, n)
    line = _say(
        "status.line",
        lang,
        name=name,
        n=f"{n:,}",
        k=f"{k:,}",
        rate=f"{100 * k / n:.1f}",
        low=f"{low:.1f}",
        high=f"{high:.1f}",
        done=_say("few", lang) if few_done else f"{survey.completed:,}",
    )
    return line + (_say("status.caution", lang) if n < 30 else "")
