"""Reads what is set: the environment and .env, koe.yaml, the surveys. Whatever is wrong is named together, with file
and line and what to do about it.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource

from bot import experiments, files
from bot.config import Config, Settings, Shop, Trust, Unhappy
from bot.signatures import usable_webhook_secret
from flows.builtin import builtin_definitions, builtin_library
from flows.flow import Rules
from flows.source import DefinitionErrors, Plain, Problem, Source
from flows.source import Path as SourcePath
from flows.survey import Library
from flows.triggers import BY_STAFF
from reports.kpi.words import TARGETS
from reports.trust import account as trust


class ConfigErrors(Exception):
    """The configuration cannot be used; `.problems` is everything that is wrong, by file and line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(set(problems), key=lambda p: (p.file, p.line, p.message)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def load(*, environ: Mapping[str, str] | None = None, env_file: Path | None = Path(".env")) -> Config:
    """The whole configuration: the environment, .env, the koe.yaml they name and every flow.

    Args:
        environ: The environment; that of the process when left out. It wins over the .env file.
        env_file: The .env file; a missing one is an empty one.

    Raises:
        ConfigErrors: with every problem at once.
    """
    problems: list[Problem] = []
    settings = read_settings(os.environ if environ is None else environ, env_file, problems)
    shop, library = read_shop(settings.config, settings.flows_dir, problems)
    if problems or shop is None or library is None:
        raise ConfigErrors(problems)
    return Config(settings=settings, shop=shop, library=library)


# ------------------------------------------------------------------------------------------- reading settings

ENVIRONMENT = "environment"
"""The `file` of a problem with a variable that came from the environment."""

_LINE_NEEDS = ("LINE_CHANNEL_SECRETS", "LINE_CHANNEL_ACCESS_TOKEN")
_OURS = re.compile(r"(KOE|LINE|SLACK|SHOPIFY|STRIPE|ZENDESK)_[A-Z0-9_]+")
_PLACEHOLDER = re.compile(
    r"(^|[-_ <])your[-_ ]|change[-_ ]?me|replace[-_ ]?me|placeholder|x{6,}|^<.*>$|\.\.\.|…"
    r"|^(todo|tbd|secret|token|none)$|^(xoxb|xapp|whsec)[-_]?$",
    re.IGNORECASE,
)
_SECRET_NAMES = tuple(
    cast(str, field.alias) for field in Settings.model_fields.values() if "Secret" in str(field.annotation)
)
_PREFIXES = {"SLACK_BOT_TOKEN": "xoxb-", "SLACK_APP_TOKEN": "xapp-", "KOE_EVENTS_SECRETS": "whsec_"}


def read_settings(environ: Mapping[str, str], env_file: Path | None, problems: list[Problem]) -> Settings:
    """The settings as far as they can be used; what is wrong is added to `problems`, without any secret."""
    written = files.EnvFile(".env") if env_file is None else files.read_env(env_file, problems)
    known = set(Settings.names())
    given = {name: value for name, value in {**written.values, **environ}.items() if name in known and value.strip()}

    def blame(name: str, message: str) -> None:
        if name in written.lines and name not in environ:
            problems.append(Problem(written.name, written.lines[name], f"{name}: {message}"))
        else:
            problems.append(Problem(ENVIRONMENT, 0, f"{name}: {message}"))

    for name, line in written.lines.items():
        if name not in known and _OURS.fullmatch(name):
            problems.append(Problem(written.name, line, f"{name} is no setting of Koe{_meant(name, known)}"))
    problems.extend(
        Problem(ENVIRONMENT, 0, f"{name} is no setting of Koe{_meant(name, known)}")
        for name in environ
        if name not in known and name.startswith("KOE_") and _close(name, known)
    )

    for name, value in given.items():
        parts = [part.strip() for part in value.split(",")] if name.endswith("_SECRETS") else [value.strip()]
        if name in _SECRET_NAMES and any(_PLACEHOLDER.search(part) for part in parts):
            blame(
                name,
                "still holds the placeholder of the example; put the real value here, or remove the line",
            )
        elif name in _PREFIXES and not all(part.startswith(_PREFIXES[name]) for part in parts if part):
            blame(name, f"does not start with {_PREFIXES[name]}; this is another kind of token")
        elif name in _SECRET_NAMES and not value.isascii():
            blame(name, "holds characters that no token has; copy it again")
        elif name == "KOE_EVENTS_SECRETS" and not all(usable_webhook_secret(part) for part in parts if part):
            blame(name, "is cut short or mistyped: after whsec_ stands the base64 of 24 to 64 bytes; copy it again")
        elif name == "KOE_SECRET_KEY" and len(value.strip()) < 32:
            blame(name, f"is too short to be safe; {HOW_TO_MAKE_A_KEY}")

    source = EnvSettingsSource(Settings)
    source.env_vars = {name: value.strip() for name, value in given.items()}
    values = source()
    try:
        settings = Settings(**values)
    except ValidationError as error:
        for detail in error.errors(include_input=False, include_url=False):
            name = str(detail["loc"][0])
            values.pop(name, None)
            blame(name, _sentence(detail, {}))
        settings = Settings(**values)

    _whole_platforms(given, problems)
    return settings


HOW_TO_MAKE_A_KEY = 'make one with: python3 -c "import secrets; print(secrets.token_urlsafe(32))"'


def _whole_platforms(given: Mapping[str, str], problems: list[Problem]) -> None:
    """All settings of a platform, or none."""
    if any(name.startswith("LINE_") for name in given):
        problems.extend(_lacking(name, "LINE", given) for name in _LINE_NEEDS if name not in given)
    if any(name.startswith("SLACK_") for name in given):
        if "SLACK_BOT_TOKEN" not in given:
            problems.append(_lacking("SLACK_BOT_TOKEN", "Slack", given))
        if "SLACK_APP_TOKEN" not in given and "SLACK_SIGNING_SECRETS" not in given:
            problems.append(_lacking("SLACK_SIGNING_SECRETS (or SLACK_APP_TOKEN for Socket Mode)", "Slack", given))


def _lacking(name: str, platform: str, given: Mapping[str, str]) -> Problem:
    there = ", ".join(sorted(n for n in given if n.startswith(platform.upper() + "_")))
    return Problem(
        ENVIRONMENT,
        0,
        f"{name} is missing, but {there} is set: add it, or remove the rest to turn {platform} off",
    )


def _close(name: str, known: Iterable[str]) -> str:
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.8)), "")


def _meant(name: str, known: Iterable[str]) -> str:
    close = _close(name, known)
    return f"; did you mean {close}?" if close else "; remove it"


# ------------------------------------------------------------------------------------------- reading koe.yaml

ANY_SHOP: Final[dict[str, Plain]] = {
    "brand": {"ja": "声の店", "en": "Koe Store"},
    "privacy_url": "https://shop.example/privacy",
    "support_hours": {"days": "mon-fri", "hours": "10:00-17:00", "holidays": "JP"},
    "retention": "2y",
}
"""What every shop has to say, of a shop that is none."""

_ASKED_FOR = {
    "brand": "the shop's name as customers know it: brand: {ja: 声の店, en: Koe Store}",
    "privacy_url": "customers are shown where your privacy policy stands: privacy_url: https://…",
    "support_hours": "promised times are reckoned from it: "
    'support_hours: {days: mon-fri, hours: "10:00-17:00", holidays: JP}',
    "retention": "customers are told how long answers are kept: retention: 2y",
}


@dataclass(frozen=True, slots=True)
class Judged:
    """koe.yaml and the flows as far as they could be read, to look for more that is wrong."""

    shop: Shop | None
    """Without the sections and entries that are wrong, and for a missing one that every shop needs another shop's; None
    when the file cannot be read at all. To be used only if `sound`."""
    sound: bool
    library: Library | None


def read_shop(config: Path, flows_dir: Path | None, problems: list[Problem]) -> tuple[Shop | None, Library | None]:
    """koe.yaml and every flow, None each where it cannot be used; what is wrong is added to `problems`."""
    judged = judge_shop(config, flows_dir, problems)
    return judged.shop if judged.sound else None, judged.library


def judge_shop(config: Path, flows_dir: Path | None, problems: list[Problem]) -> Judged:
    """koe.yaml and every flow, as far as they can be judged; what is wrong is added to `problems`."""
    source = files.read_yaml(config, problems)
    before = len(problems)
    shop = None if source is None else _parse_shop(source, problems)
    sound = shop is not None and len(problems) == before
    own = files.OwnDefinitions() if flows_dir is None else files.read_definitions(flows_dir, problems)
    # from the files themselves, so that these are named together with whatever else is wrong
    measured = sorted({name for found in (*builtin_definitions().instruments, *own.instruments) for name in found.data})
    library = _library(own, shop, source, measured, problems)
    if source is not None:
        problems.extend(_dangling(source, _flow_ids(own), measured))
    return Judged(shop, sound, library)


def _parse_shop(source: Source, problems: list[Problem]) -> Shop | None:
    """koe.yaml as a Shop, without what is wrong with it: that is added to `problems`."""
    problems.extend(_unsound_trust(source))
    problems.extend(_ids_taken(source))
    try:
        return Shop.model_validate(source.data)
    except ValidationError as error:
        wrong: list[SourcePath] = []
        for detail in error.errors(include_input=False, include_url=False):
            wrong.append(detail["loc"])
            problems.append(source.problem(wrong[-1], f"{_dotted(wrong[-1])}{_sentence(detail, source.data)}"))
    try:
        return Shop.model_validate(ANY_SHOP | _without(source.data, wrong))
    except ValidationError:
        return None


def _without(data: Mapping[str, Plain], wrong: Iterable[SourcePath]) -> dict[str, Plain]:
    """koe.yaml without these: the entries of its lists, and its other sections whole."""
    entries = {(path[0], path[1]) for path in wrong if len(path) > 1}
    whole = {path[0] for path in wrong if not isinstance(data.get(str(path[0])), list) or len(path) == 1}
    return {
        name: [entry for at, entry in enumerate(section) if (name, at) not in entries]
        if isinstance(section, list)
        else section
        for name, section in data.items()
        if name not in whole
    }


def _ids_taken(source: Source) -> Iterable[Problem]:
    """Ids that stand twice, or that are Koe's own; from the file itself, as `_unsound_trust`."""
    for section in ("triggers", "digests", "experiments"):
        entries = source.data.get(section)
        lines: dict[str, int] = {}
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            name = entry.get("id") if isinstance(entry, dict) else None
            if not isinstance(name, str):
                continue
            where: SourcePath = (section, index, "id")
            if name in lines:
                message = f"{section}: the id {name} stands twice (first in line {lines[name]}); each needs its own"
                yield source.problem(where, message)
            elif section == "triggers" and name == BY_STAFF:
                yield source.problem(
                    where, f"triggers: the id {name} is kept for surveys started with /survey; choose another"
                )
            lines.setdefault(name, source.line(where))


def _unsound_trust(source: Source) -> Iterable[Problem]:
    """Numbers of the trust section that are fine one by one and cannot stand together; from the file itself, so that
    these are named together with whatever else is wrong."""
    try:
        section = Trust.model_validate(source.data.get("trust") or {})
    except ValidationError:
        return
    for path, message in trust.sanity(section.rules):
        yield source.problem(("trust", *path), f"trust.{message}")


def _library(
    own: files.OwnDefinitions, shop: Shop | None, source: Source | None, measured: list[str], problems: list[Problem]
) -> Library | None:
    flows = own.flows
    if shop is not None and source is not None:
        flows = _other_instruments(flows, shop, source, measured, problems)
    rules = rules_of(Unhappy() if shop is None else shop.unhappy)

    def made_of(flows: Iterable[Source]) -> Library:
        return builtin_library(rules, flows=tuple(flows), deck=own.deck, instruments=own.instruments, blocks=own.blocks)

    broken: frozenset[str] = frozenset()
    try:
        library = made_of(flows)
    except DefinitionErrors as errors:
        problems.extend(errors.problems)
        blamed = {problem.file for problem in errors.problems}
        broken = frozenset(str(file.data.get("id")) for file in flows if file.name in blamed)
        try:
            library = made_of(file for file in flows if file.name not in blamed)
        except DefinitionErrors:
            return None
    if shop is not None and source is not None:
        written = {str(file.data.get("id")): file for file in (*builtin_definitions().flows, *flows)}
        named = source.data.get("flows")
        unread = frozenset(named if isinstance(named, dict) and not shop.flows else ())
        arms = experiments.read_arms(shop, library, written, source, problems, broken=broken | unread)
        library = replace(library, arms=arms)
    return None if broken else library


def rules_of(unhappy: Unhappy) -> Rules:
    """The unhappy section as the conversation wants it."""
    return Rules(
        satisfaction_max=unhappy.satisfaction_max,
        effort_min=unhappy.effort_min,
        nps_max=unhappy.nps_max,
        words=unhappy.words,
    )


def _other_instruments(
    own: tuple[Source, ...], shop: Shop, config: Source, measured: list[str], problems: list[Problem]
) -> tuple[Source, ...]:
    """The shop's flow files, and each flow for whose questions `flows:` of koe.yaml names instruments."""
    flows = {str(source.data.get("id")): source for source in (*builtin_definitions().flows, *own)}
    changed = {str(source.data.get("id")): source for source in own}
    if len(changed) < len(own):
        return own  # an id that stands twice; loading the files will say where
    for flow_id, wanted in shop.flows.items():
        source = flows.get(flow_id)
        if source is None:
            message = f"flows: there is no flow {flow_id}{files.hint(flow_id, sorted(flows))}"
            problems.append(config.problem(("flows", flow_id), message))
            continue
        questions = source.data.get("questions")
        replaced = list(questions) if isinstance(questions, list) else []
        asked = {
            str(question["id"]): index
            for index, question in enumerate(replaced)
            if isinstance(question, dict) and "instrument" in question and "id" in question
        }
        for question_id, instrument in wanted.items():
            if question_id not in asked:
                hint = files.hint(question_id, sorted(asked))
                message = f"flows: {flow_id} asks no question {question_id}{hint}"
                problems.append(config.problem(("flows", flow_id, question_id), message))
                continue
            if instrument not in measured:
                message = f"flows: there is no instrument {instrument}{files.hint(instrument, measured)}"
                problems.append(config.problem(("flows", flow_id, question_id), message))
                continue
            question = replaced[asked[question_id]]
            assert isinstance(question, dict)
            replaced[asked[question_id]] = {**question, "instrument": instrument}
        changed[flow_id] = replace(source, data={**source.data, "questions": replaced})
    return tuple(changed.values())


def _flow_ids(own: files.OwnDefinitions) -> list[str]:
    return sorted({str(source.data.get("id")) for source in (*builtin_definitions().flows, *own.flows)})


def _dangling(source: Source, flow_ids: list[str], measured: list[str]) -> Iterable[Problem]:
    """What koe.yaml refers to and nobody knows. `measured`: the instruments."""
    rules = source.data.get("triggers")
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        flow = rule.get("flow") if isinstance(rule, dict) else None
        if isinstance(rule, dict) and isinstance(flow, str) and flow and flow not in flow_ids:
            message = f"trigger {rule.get('id', index + 1)}: there is no flow {flow}{files.hint(flow, flow_ids)}"
            yield source.problem(("triggers", index, "flow"), message)
    targets = source.data.get("targets")
    figures = source.data.get("benchmarks")
    for index, figure in enumerate(figures if isinstance(figures, list) else ()):
        name = figure.get("metric") if isinstance(figure, dict) else None
        if isinstance(name, str) and name not in measured:
            message = f"benchmarks: there is no instrument {name}{files.hint(name, measured)}"
            yield source.problem(("benchmarks", index, "metric"), message)
    words = source.data.get("free_text")
    topics = words.get("topics") if isinstance(words, dict) else None
    for topic, about in topics.items() if isinstance(topics, dict) else ():
        name = about.get("experience") if isinstance(about, dict) else None
        if isinstance(name, str) and name not in measured:
            message = f"free_text: there is no instrument {name}{files.hint(name, measured)}"
            yield source.problem(("free_text", "topics", topic, "experience"), message)
    digests = source.data.get("digests")
    leads: list[tuple[tuple[str | int, ...], object]] = [(("primary_metric",), source.data.get("primary_metric"))]
    for index, digest in enumerate(digests if isinstance(digests, list) else ()):
        if isinstance(digest, dict):
            leads.append((("digests", index, "primary_metric"), digest.get("primary_metric")))
    for place, lead in leads:
        if isinstance(lead, str) and lead not in measured:
            message = f"primary_metric: there is no instrument {lead}{files.hint(lead, measured)}"
            yield source.problem(place, message)
    for name, value in targets.items() if isinstance(targets, dict) else ():
        kpi = TARGETS.get(name)
        low, high = (-100.0, 100.0) if kpi is None else (0.0, kpi.most)
        if kpi is None and name not in measured:
            known = [*measured, *TARGETS]
            yield source.problem(("targets", name), f"targets: there is no instrument {name}{files.hint(name, known)}")
        elif isinstance(value, int | float) and not low <= value <= (math.inf if high is None else high):
            bounds = f"from {low:g} to {high:g}" if high is not None else "of 0 or more"
            kind = "score" if kpi is None else "figure"
            yield source.problem(("targets", name), f"targets: {name} is a {kind} {bounds}, not {value:g}")


def _dotted(path: SourcePath) -> str:
    """Where in a file, as people say it: "triggers[2].flow: "."""
    words = ""
    for part in path:
        words += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    return f"{words.lstrip('.')}: " if words else ""


def _sentence(detail: ErrorDetails, data: Mapping[str, Any]) -> str:
    """What is wrong and what to do, without the value: it may be a secret."""
    path = detail["loc"]
    last = str(path[-1]) if path else ""
    match detail["type"]:
        case "value_error":
            return str(detail["msg"]).removeprefix("Value error, ")
        case "missing" if len(path) == 1:
            return f"missing; {_ASKED_FOR[last]}" if last in _ASKED_FOR else "missing"
        case "missing":
            return "missing"
        case "extra_forbidden":
            return f"unknown key{_meant(last, _keys_at(path[:-1]))}"
        case "literal_error":
            return f"must be one of {detail['ctx']['expected']}"
        case "string_pattern_mismatch" if last == "channel":
            return "is no Slack channel id; it looks like C0123ABCD (channel details in Slack, at the bottom)"
        case "string_pattern_mismatch" if path[:1] == ("staff",):
            return "is no Slack id; a person's looks like U0123ABCD, a user group's like S0123ABCD"
        case "string_pattern_mismatch" if last == "LINE_BASIC_ID":
            return "must look like @123abcde, with the @"
        case "string_pattern_mismatch" if last == "country":
            return "is no country code; it looks like JP"
        case "string_pattern_mismatch" if last == "year":
            return "is neither a year such as 2025 nor a month such as 2025-06"
        case "string_pattern_mismatch" if last == "scale":
            return "must name both ends of the scale, such as 0-10"
        case "string_pattern_mismatch":
            return "must start with a letter and hold only small letters, digits, _ . -"
        case "model_type" | "model_attributes_type" | "dict_type":
            return (
                "must be a group of keys, such as {ja: …, en: …}"
                if last in ("brand", "team")
                else "must be a group of keys"
            )
        case "tuple_type" | "list_type":
            return "must be a list, such as [a, b]"
        case "string_type":
            return "must be text; put quotes around it"
        case "string_too_short":
            return "is empty"
        case _:
            message = str(detail["msg"]).replace("Input should be", "must be")
            return message[:1].lower() + message[1:]


def _keys_at(path: tuple[int | str, ...]) -> list[str]:
    """The keys that may stand at this place of koe.yaml."""
    model: type[BaseModel] = Shop
    for part in path:
        if isinstance(part, int):
            continue
        for name, field in model.model_fields.items():
            if part in (name, field.alias):
                found = _model_in(field.annotation)
                if found is None:
                    return []
                model = found
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The section a field holds: itself, optional, or in a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _model_in(part)
        if found is not None:
            return found
    return None
