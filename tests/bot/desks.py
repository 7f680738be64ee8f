"""`/survey` with words behind it as it is built for a shop, on a database of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from bot.clock import Chance, StoryClock
from bot.config import Config, load
from bot.digests import Digests
from bot.outbox import Outbox
from bot.slack.channel import SlackChannel, SlackError
from bot.staff.access import Access
from bot.staff.commands import CommandDesk
from bot.staff.home import HomeFacts
from bot.staff.survey import SurveyDesk
from storage.store import Store

ROOT = Path(__file__).parents[2]


def example_config() -> Config:
    """The configuration of koe.example.yaml, with no platform switched on."""
    return load(environ={"KOE_CONFIG": str(ROOT / "koe.example.yaml")}, env_file=None)


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

    clock, chance, config = StoryClock(now_ms), Chance(1), example_config()
    return CommandDesk(
        channel.respond,
        failure=SlackError,
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
        outbox=lambda: Outbox(owner="", now_ms=clock.now_ms(), chance=chance),
        on_queued=lambda outbox: None,
    )
