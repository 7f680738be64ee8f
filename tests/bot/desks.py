"""`/survey` with words behind it as it is built for a shop, on a database of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from bot.clock import Chance, StoryClock
from bot.config import Config
from bot.digests import Digests
from bot.loading import load
from bot.outbox import Units
from bot.slack.channel import SlackChannel, SlackError
from bot.staff.access import Access
from bot.staff.commands import CommandDesk
from bot.staff.home import HomeFacts
from bot.staff.survey import SurveyDesk
from bot.staff.telling import Teller
from storage.store import Store

_CHANCE = Chance(1)
ROOT = Path(__file__).parents[2]


def example_config() -> Config:
    """The configuration of koe.example.yaml, with no platform switched on."""
    return load(environ={"KOE_CONFIG": str(ROOT / "koe.example.yaml")}, env_file=None)


def units_of(store: Store, now_ms: int) -> Units:
    """Units whose jobs nobody does: they stay in the store."""
    return Units(store, StoryClock(now_ms), _CHANCE, "", queued=lambda outbox: None)


def teller_of(channel: SlackChannel, *, store: Store, now_ms: int) -> Teller:
    """What tells people, with direct messages that nobody sends: they stay in the store."""
    return Teller(
        channel.call,
        channel.respond,
        failure=SlackError,
        units=units_of(store, now_ms),
    )


def command_desk(
    channel: SlackChannel,
    survey: SurveyDesk,
    access: Access,
    *,
    store: Store,
    facts: Callable[[], Awaitable[HomeFacts]],
    now_ms: int,
) -> CommandDesk:

    async def no_budget() -> None:
        return None

    clock, config = StoryClock(now_ms), example_config()
    return CommandDesk(
        channel.respond,
        failure=SlackError,
        teller=teller_of(channel, store=store, now_ms=now_ms),
        access=access,
        survey=survey,
        bulk=None,
        facts=facts,
        find=lambda tx, words: [],
        channels=("line", "slack"),
        budget=no_budget,
        digests=Digests(config=config, store=store, clock=clock),
        config=config,
        store=store,
        clock=clock,
        units=units_of(store, now_ms),
    )
