"""The commands for who looks after a Koe: what is wrong with its files, its platforms and its database."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bot.commands.frame import EXIT_CONFIG, checked, fail, refuse, run, write
from bot.terminal import echo, one_line

if TYPE_CHECKING:
    from bot.config import Config
    from flows.source import Problem


def check() -> None:
    """Check settings, koe.yaml and every flow; all problems at once with file and line. Exit 2 if there are any.

    Example: koe check
    """
    for name in checked(serving=True).settings.without_effect:
        echo(f"{name} has no effect in this version: business events come in at POST /events and from files.")
    echo("Everything is in order.")


def doctor(
    replay: Annotated[str, typer.Option(help="Run this dead or uncertain job again (its id), or all dead ones.")] = "",
    offline: Annotated[bool, typer.Option("--offline", help="Ask neither LINE nor Slack.")] = False,
    audit: Annotated[
        int, typer.Option(min=0, help="Instead, print this many of the newest deeds: when, who, what, about whom.")
    ] = 0,
) -> None:
    """Ask LINE and Slack whether all is set up, and look at the database: what is wrong with it, what waits, what was
    given up and why.

    Example: koe doctor --replay all
    """
    config = checked()
    if audit:
        run(_print_audit(config, audit))
        return
    well = True if offline or replay else run(_ask_platforms(config))
    if not run(_doctor(config, replay)) or not well:
        raise typer.Exit(1)


async def _print_audit(config: Config, count: int) -> None:
    from datetime import datetime

    from bot.clock import SystemClock
    from flows.visible import spelled_line
    from storage.store import open_store

    store = await open_store(config.settings.database_url, now_ms=SystemClock().now_ms(), create=False)
    async with store:
        newest = await store.read(lambda tx: tx.audit_entries(limit=count))
    for entry in newest:
        at = datetime.fromtimestamp(entry.at_ms / 1000, config.shop.tz)
        told = (f"{at:%Y-%m-%d %H:%M}", entry.actor, entry.action, entry.subject, entry.detail)
        echo(spelled_line(" ".join(filter(None, told))))
    if not newest:
        echo("Nobody has done anything yet.")


async def _ask_platforms(config: Config) -> bool:
    """Whether nothing is missing; says everything that was found."""
    from bot.app import line_channel, slack_channel_of
    from bot.onboarding import look_at_platforms

    users = await _told_line_users(config)
    slack = slack_channel_of(config) if config.settings.slack_on else None
    line = line_channel(config.settings) if config.settings.line_on else None
    try:
        found = await look_at_platforms(config, slack=slack, line=line, line_users=users)
    finally:
        for channel in (slack, line):
            if channel is not None:
                await channel.close()
    for finding in found:
        echo(f"{finding.weight}: {finding}", err=finding.weight == "missing")
    asked = [name for name, channel in (("LINE", line), ("Slack", slack)) if channel is not None]
    if asked and all(finding.weight != "missing" for finding in found):
        echo(f"{' and '.join(asked)}: nothing is missing.")
    return all(finding.weight != "missing" for finding in found)


async def _told_line_users(config: Config) -> list[str]:
    """A sample of what events told; none before the first start has made a database."""
    from bot.clock import SystemClock
    from bot.onboarding import told_line_users
    from storage.errors import StoreError
    from storage.store import open_store

    try:
        store = await open_store(config.settings.database_url, now_ms=SystemClock().now_ms(), create=False)
    except StoreError:
        return []
    async with store:
        return await store.read(told_line_users)


async def _doctor(config: Config, replay: str) -> bool:
    from rich.console import Console
    from rich.table import Table

    from bot.clock import SystemClock
    from storage.store import Tx, open_store

    now_ms = SystemClock().now_ms()
    store = await open_store(config.settings.database_url, now_ms=now_ms, create=False)
    async with store:
        if replay:
            dead = await store.read(lambda tx: [job.id for job in tx.jobs(state="dead", limit=10_000)])
            wanted = dead if replay == "all" else [replay]
            again = [
                job_id for job_id in wanted if await store.write(partial(Tx.replay_job, job_id=job_id, now_ms=now_ms))
            ]
            echo(f"{len(again)} of {len(wanted)} jobs will run again.")
            return len(again) == len(wanted)
        wrong = await store.read(lambda tx: tx.check_integrity())
        counts = await store.read(lambda tx: tx.job_counts())
        given_up = await store.read(lambda tx: [*tx.jobs(state="dead"), *tx.jobs(state="uncertain")])
    for sentence in wrong:
        echo(sentence, err=True)
    console = Console()
    waiting = ", ".join(f"{kind} {state} {count}" for (kind, state), count in sorted(counts.items()) if state != "done")
    console.print(one_line(f"jobs: {waiting or 'none waiting'}"), soft_wrap=True)
    if given_up:
        table = Table("job", "kind", "channel", "state", "attempts", "reason")
        for job in given_up:
            table.add_row(*map(one_line, (job.id, job.kind, job.channel, job.state, str(job.attempts), job.error)))
        console.print(table)
        console.print("Mend the reason, then: koe doctor --replay JOB (or all)", highlight=False)
    echo("The database is sound." if not wrong else f"{len(wrong)} things are wrong with the database.")
    return not wrong


def slack_manifest(
    socket_mode: Annotated[
        bool, typer.Option("--socket", help="Socket Mode: Slack needs no address of yours (KOE_PUBLIC_URL).")
    ] = False,
    format: Annotated[str, typer.Option(help="yaml or json.")] = "yaml",  # noqa: A002
    output: Annotated[Path | None, typer.Option("-o", help="Write to this file instead of the screen.")] = None,
) -> None:
    """Print the manifest from which api.slack.com/apps makes the Slack app, with the fewest scopes that your koe.yaml
    needs.

    Example: koe slack-manifest --socket
    """
    import json

    import yaml

    from bot.loading import read_settings, read_shop
    from bot.slack.manifest import NotReachable, manifest

    if format not in ("yaml", "json"):
        raise fail(f"--format is {format!r}: yaml and json work.", EXIT_CONFIG)
    problems: list[Problem] = []
    settings = read_settings(os.environ, Path(".env"), problems)
    # before there is a token: what is missing of the platforms is no reason to refuse
    problems = [problem for problem in problems if " is missing, but " not in problem.message]
    shop, _ = read_shop(settings.config, settings.flows_dir, problems)
    refuse(problems)
    assert shop is not None
    try:
        made = manifest(
            name=shop.brand_in(shop.language),
            lang=shop.language,
            public_url=settings.public_url,
            socket=socket_mode,
            channels=shop.alerts is not None or bool(shop.digests),
            groups=bool(shop.staff.groups),
        )
    except NotReachable as error:
        raise fail(str(error), EXIT_CONFIG) from error
    if format == "json":
        written = json.dumps(made, ensure_ascii=False, indent=2)
    else:
        written = yaml.safe_dump(made, allow_unicode=True, sort_keys=False).rstrip()
    if output is None:
        echo(written)
    else:
        write(output, written)
