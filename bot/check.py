"""What `koe check` and `koe serve` look at before anything starts: everything that is wrong, in one go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from bot.config import Config, Settings, Shop
from bot.experiments import unregistered
from bot.loading import ENVIRONMENT, HOW_TO_MAKE_A_KEY, judge_shop, read_settings
from flows.source import Problem
from flows.survey import Library
from storage.store import registrations_in


def examine(
    *,
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = Path(".env"),
    serving: bool = True,
    now_ms: int | None = None,
) -> tuple[Config | None, list[Problem]]:
    """(the configuration, None where koe.yaml or a flow cannot be read; every problem of the settings, koe.yaml and all
    flows, by file and line). With no problem there is a configuration, with which Koe can start.

    Each problem says what is wrong and what to do; none holds a secret. Nothing is sent and no network is used.
    Templates of the shop's own are rendered, in a process of their own.

    Args:
        environ: The environment; that of the process when left out.
        env_file: The .env file; a missing one is an empty one.
        serving: False leaves out what only a server needs (platforms, keys, a way for events to come in).
        now_ms: The time; None leaves out whether experiments are as they were registered.
    """
    problems: list[Problem] = []
    settings = read_settings(os.environ if environ is None else environ, env_file, problems)
    judged = judge_shop(settings.config, settings.flows_dir, problems)
    shop, library = judged.shop, judged.library
    if serving:
        # a platform that is set in part or wrongly has its own sentence already
        if not any(problem.message.startswith(("LINE_", "SLACK_")) for problem in problems):
            problems += _platforms(settings, shop)
        problems += _server(settings, shop)
        if shop is not None:
            problems += _reach(settings, shop, library)
    if settings.templates_dir is not None:
        problems += _own_templates(settings.templates_dir)
    if shop is not None and shop.experiments and now_ms is not None:
        known = registrations_in(settings.database_url)
        problems += [Problem(str(settings.config), 0, message) for message in unregistered(shop, known, now_ms)]
    config = Config(settings, shop, library) if judged.sound and shop is not None and library is not None else None
    return config, sorted(set(problems), key=lambda problem: (problem.file, problem.line, problem.message))


def _own_templates(folder: Path) -> list[Problem]:
    """Each template of the shop's own is tried with digests in every state: by a child, for that takes what makes
    digests."""
    asked = json.dumps({"templates": str(folder)})
    done = subprocess.run([sys.executable, "-m", "reports", "templates"], input=asked, capture_output=True, text=True)
    if done.returncode != 0:
        return [Problem(str(folder), 0, f"the templates could not be tried: {done.stderr.strip()[-500:]}")]
    found = json.loads(done.stdout)["problems"]
    return [Problem(str(folder / each["file"]), each["line"], each["message"]) for each in found]


def _platforms(settings: Settings, shop: Shop | None) -> list[Problem]:
    if not settings.line_on and not settings.slack_on:
        message = (
            "neither LINE nor Slack is set up; set LINE_CHANNEL_SECRETS and LINE_CHANNEL_ACCESS_TOKEN, or "
            "SLACK_BOT_TOKEN and SLACK_SIGNING_SECRETS, in .env"
        )
        return [Problem(ENVIRONMENT, 0, message)]
    if settings.slack_on or shop is None:
        return []
    wanted = [name for name, section in (("alerts", shop.alerts), ("digests", shop.digests)) if section]
    return [
        Problem(str(settings.config), 0, f"{name}: goes to Slack, which is off; set SLACK_BOT_TOKEN or remove it")
        for name in wanted
    ]


def _server(settings: Settings, shop: Shop | None) -> list[Problem]:
    problems: list[Problem] = []
    if not settings.secret_key.get_secret_value():
        problems.append(Problem(ENVIRONMENT, 0, f"KOE_SECRET_KEY is missing; {HOW_TO_MAKE_A_KEY}"))
    if settings.database_url.startswith("postgresql:"):
        message = "KOE_DATABASE_URL: this version keeps its data in SQLite; write sqlite:///koe.db"
        problems.append(Problem(ENVIRONMENT, 0, message))
    if shop is not None and any(rule.on for rule in shop.triggers) and not settings.events_secrets:
        message = (
            "KOE_EVENTS_SECRETS is missing, so that no business event can come in and no trigger can start a "
            'survey; make one with: python3 -c "import base64, secrets; '
            "print('whsec_' + base64.b64encode(secrets.token_bytes(32)).decode())\""
        )
        problems.append(Problem(ENVIRONMENT, 0, message))
    return problems


def _reach(settings: Settings, shop: Shop, library: Library | None) -> list[Problem]:
    """Rules that could never ask anybody."""
    on = {name for name, is_on in (("line", settings.line_on), ("slack", settings.slack_on)) if is_on}
    problems: list[Problem] = []
    for rule in shop.triggers:
        if on and not on.intersection(rule.channel):
            message = (
                f"trigger {rule.id}: asks in {' and '.join(rule.channel)}, which is off; "
                "set the platform up, or change channel"
            )
            problems.append(Problem(str(settings.config), 0, message))
        flow = None if library is None else library.flows.get(rule.flow)
        if flow is not None and rule.every_ms is not None and flow.survey_kind != "relational":
            message = f"trigger {rule.id}: `every` asks without an occasion, but {rule.flow} is about one; use on:"
            problems.append(Problem(str(settings.config), 0, message))
    return problems
