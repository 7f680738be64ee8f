"""What the platforms themselves say about how Koe is set up: scopes, channels, groups, people, quota, webhook. Asked by
`koe doctor`, and once by `koe serve` after its start; each finding says what is missing and what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from bot.channel import JsonObject
from bot.config import Config, Settings, Shop

if TYPE_CHECKING:
    from bot.line import LineChannel
    from bot.slack.channel import SlackChannel
    from storage.store import Tx

LINE_PATH: Final = "/line/webhook"
_MOST_PEOPLE = 40
"""People looked up in one go: Slack answers a hundred such questions a minute."""
_NAMED = 5
_NEARLY_USED = 0.9
_LINE_SAMPLE = 20
_LINE_ENOUGH = 5
"""Fewer unknown ids may be people who blocked the account."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        weight: "missing": something will not work until it is mended; "note": it works, and somebody should know.
    """

    platform: Literal["LINE", "Slack"]
    weight: Literal["missing", "note"]
    sentence: str

    def __str__(self) -> str:
        return f"{self.platform}: {self.sentence}"


async def look_at_platforms(
    config: Config, *, slack: SlackChannel | None, line: LineChannel | None, line_users: Sequence[str] = ()
) -> list[Finding]:
    """Everything that was found, what is missing first. A platform that is off has nothing to find. Changes nothing on
    either platform.

    Args:
        line_users: what `told_line_users` found.
    """
    looked = await asyncio.gather(
        *([] if slack is None else [_slack(slack, config.shop)]),
        *([] if line is None else [_line(line, config.settings, line_users)]),
    )
    found = [finding for findings in looked for finding in findings]
    return sorted(found, key=lambda finding: finding.weight != "missing")


def told_line_users(tx: Tx) -> list[str]:
    """A sample of the LINE user ids that the shop's events brought, the newest first."""
    return [address.external_id for address in tx.told_addresses("line", limit=_LINE_SAMPLE)]


# ------------------------------------------------------------------------------------------------------- Slack


async def _slack(slack: SlackChannel, shop: Shop) -> list[Finding]:
    from bot.slack.channel import SlackError
    from bot.slack.manifest import SCOPES, needed_scopes

    named = _channels(shop)
    needed = needed_scopes(channels=bool(named), groups=bool(shop.staff.groups))
    try:
        granted = await slack.fetch_scopes()
    except SlackError as error:
        return [_missing("Slack", _unasked(error.code))]
    found: list[Finding] = []
    if granted is not None:
        lacking = [scope for scope in needed if scope not in granted]
        if lacking:
            what = "; ".join(f"{scope} ({SCOPES[scope][1]})" for scope in lacking)
            found.append(
                _missing(
                    "Slack",
                    f"the token lacks {what}. Replace the app's manifest with what `koe slack-manifest` prints, and "
                    "install the app again",
                )
            )
        spare = sorted(granted - set(needed))
        if spare:
            found.append(_note("Slack", f"the token may do more than Koe needs: {', '.join(spare)}"))
    for channel, uses in named.items():
        found += await _channel(slack, shop, channel, uses)
    for group in shop.staff.groups:
        found += await _group(slack, group)
    people = shop.staff.people[:_MOST_PEOPLE]
    for findings in await asyncio.gather(*(_person(slack, user_id) for user_id in people)):
        found += findings
    return found


def _channels(shop: Shop) -> dict[str, list[str]]:
    """Each channel that koe.yaml names, with the places that name it."""
    named: dict[str, list[str]] = {}
    if shop.alerts is not None:
        named.setdefault(shop.alerts.channel, []).append("alerts")
    for rule in shop.digests:
        named.setdefault(rule.channel, []).append(f"digest {rule.id}")
    return named


async def _channel(slack: SlackChannel, shop: Shop, channel: str, uses: Sequence[str]) -> list[Finding]:
    from bot.slack.channel import SlackError

    what = f"channel {channel} ({', '.join(uses)})"
    try:
        answer = await slack.call("conversations.info", {"channel": channel}, harmless=True)
    except SlackError as error:
        match error.code:
            case "channel_not_found":
                reason = "Slack does not show it: the id is wrong, or it is private and the app is not in it. "
                return [_missing("Slack", f"{what}: {reason}In the channel, type /invite and choose the app")]
            case "missing_scope":
                return [_missing("Slack", f"{what} could not be looked at: see the missing scopes")]
            case code:
                return [_missing("Slack", f"{what} could not be looked at ({code}); run this again")]
    told = answer.get("channel")
    place: JsonObject = told if isinstance(told, dict) else {}
    if place.get("is_archived"):
        return [_missing("Slack", f"{what} is archived: unarchive it, or name another in koe.yaml")]
    found = []
    if not place.get("is_member"):
        found.append(_missing("Slack", f"{what}: the app is not in it and cannot post. In the channel, type /invite"))
    if "alerts" in uses and not place.get("is_private"):
        found.append(
            _note("Slack", f"{what} is public: its cards have no names and no words of customers. Make it private")
        )
    elif "alerts" in uses and shop.staff.may_read_comments is not None:
        outside = await _outside(slack, shop, channel)
        if outside:
            who = ", ".join(outside[:_NAMED]) + (" …" if len(outside) > _NAMED else "")
            found.append(
                _note(
                    "Slack",
                    f"{what}: {who} read along and are not on staff.may_read_comments, so that its cards have no "
                    "names and no words",
                )
            )
    return found


async def _outside(slack: SlackChannel, shop: Shop, channel: str) -> tuple[str, ...]:
    """Who is in the channel and may not read comments; () while Slack does not say who is in it."""
    from bot.slack.channel import SlackError
    from bot.staff.access import Access
    from bot.staff.people import People

    async def note(*_: str) -> None:
        """A look refuses nobody."""

    try:
        asked = {"channel": channel, "limit": 200}
        members = (await slack.call("conversations.members", asked, harmless=True)).get("members") or ()
        team_id = (await slack.identify()).team_id
    except SlackError:
        return ()
    people = People(
        slack.call, team_id=lambda: team_id, default_lang=shop.language, failure=SlackError, now_ms=lambda: 0
    )
    access = Access(people, shop.staff, note_refused=note)
    return await access.those_who_may_not("read_comments", [str(user_id) for user_id in members])


async def _group(slack: SlackChannel, group: str) -> list[Finding]:
    from bot.slack.channel import SlackError

    try:
        answer = await slack.call("usergroups.users.list", {"usergroup": group}, harmless=True)
    except SlackError as error:
        if error.code == "missing_scope":
            return [_missing("Slack", f"user group {group} cannot be read: its members are refused. See the scopes")]
        return [
            _missing(
                "Slack", f"user group {group} cannot be read ({error.code}): correct its id under staff in koe.yaml"
            )
        ]
    if not answer.get("users"):
        return [_note("Slack", f"user group {group} is empty: it lets nobody in")]
    return []


async def _person(slack: SlackChannel, user_id: str) -> list[Finding]:
    from bot.slack.channel import SlackError

    try:
        answer = await slack.call("users.info", {"user": user_id}, harmless=True)
    except SlackError as error:
        if error.code in ("user_not_found", "user_not_visible"):
            return [_missing("Slack", f"{user_id} is nobody in this workspace: correct it under staff in koe.yaml")]
        return []  # a scope that is missing, or an outage, has its own sentence
    told = answer.get("user")
    person: JsonObject = told if isinstance(told, dict) else {}
    for mark, words in (
        ("deleted", "is deactivated"),
        ("is_bot", "is a bot"),
        ("is_restricted", "is a guest"),
        ("is_ultra_restricted", "is a guest"),
        ("is_stranger", "belongs to another organisation"),
    ):
        if person.get(mark):
            return [_note("Slack", f"{user_id} under staff {words} and is refused all the same")]
    return []


# -------------------------------------------------------------------------------------------------------- LINE


async def _line(line: LineChannel, settings: Settings, users: Sequence[str]) -> list[Finding]:
    from bot.line import LineError

    try:
        account = await line.fetch_bot_info()
    except LineError as error:
        return [_missing("LINE", _unasked("the token is refused" if error.status == 401 else str(error)))]
    found: list[Finding] = []
    if settings.line_basic_id and settings.line_basic_id != account.basic_id:
        found.append(
            _missing(
                "LINE",
                f"LINE_BASIC_ID is {settings.line_basic_id}, but the token belongs to {account.basic_id}: one of the "
                "two is of another account",
            )
        )
    try:
        quota, webhook = await line.fetch_quota(), await line.fetch_webhook()
    except LineError as error:
        return [*found, _missing("LINE", _unasked(str(error)))]
    if quota.limit is not None:
        words = f"{quota.used} of {quota.limit} messages of this month are used"
        if quota.used >= quota.limit:
            found.append(_missing("LINE", f"{words}: no survey can be sent before next month, or raise the plan"))
        elif quota.used >= quota.limit * _NEARLY_USED:
            found.append(_note("LINE", f"{words}: the rest may not last"))
    found += await _users(line, users)
    ours = None if settings.public_url is None else f"{settings.public_url}{LINE_PATH}"
    if webhook is None:
        where = ours or f"https://your-host{LINE_PATH}"
        found.append(_missing("LINE", f"no webhook is set, so that no answer comes in: set it to {where}"))
    else:
        if not webhook.active:
            found.append(_missing("LINE", "the webhook is off, so that no answer comes in: turn “Use webhook” on"))
        if ours is not None and webhook.url != ours:
            found.append(
                _missing("LINE", f"the webhook goes to {webhook.url}, but KOE_PUBLIC_URL says {ours}: correct one")
            )
    return found


async def _users(line: LineChannel, users: Sequence[str]) -> list[Finding]:
    """Whether the ids in the shop's events are ids of this account: those of another provider look just as right."""
    from bot.line import LineError

    try:
        known = [await line.fetch_knows(user_id) for user_id in users]
    except LineError:
        return []  # an outage has its own sentence
    strange = known.count(False)
    if strange < _LINE_ENOUGH or strange * 2 <= len(known):
        return []
    words = f"{strange} of the {len(known)} newest line_user_id in your events are unknown to this account"
    if strange < len(known):
        return [_note("LINE", f"{words}: they have blocked it or are no friends of it, and get no survey")]
    why = "An id is valid within one provider: take the ids from a channel of the provider that owns this account"
    return [_missing("LINE", f"{words}, so that nobody gets a survey. {why}")]


def _unasked(reason: str) -> str:
    return f"could not be asked ({reason}): check the token, the network and the API's address"


def _missing(platform: Literal["LINE", "Slack"], sentence: str) -> Finding:
    return Finding(platform, "missing", sentence)


def _note(platform: Literal["LINE", "Slack"], sentence: str) -> Finding:
    return Finding(platform, "note", sentence)
