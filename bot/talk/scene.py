"""What a talk starts from: the survey, the shop around it – made up where there is none – and who answers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bot import files
from bot.config import Shop, Unhappy
from bot.loading import ANY_SHOP, ConfigErrors, read_settings, read_shop, rules_of
from bot.promises import Promises
from flows.builtin import builtin_library
from flows.engine import new_state
from flows.flow import Flow
from flows.source import DefinitionErrors, Problem, parse_yaml
from flows.survey import Library

_HOUR_MS = 3_600_000
_REMIND_MS = 72 * _HOUR_MS
_EXPIRE_MS = 7 * 24 * _HOUR_MS
"""When no trigger of koe.yaml starts the flow."""
_PERSON = {"ja": {"name": "田中", "item": "ドリップコーヒー"}, "en": {"name": "Emma", "item": "Drip coffee"}}
_ORDER: dict[str, object] = {
    "order": "1001",
    "amount": 5400,
    "product": "Drip coffee",
    "channel": "own",
    "store": "web",
}


class CannotTalk(ValueError):
    """There is no such survey, or it cannot be started like this; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a talk starts from: the survey, the shop around it, the customer who answers."""

    flow: Flow
    library: Library
    shop: Shop
    lang: str
    vars: Mapping[str, str]
    facts: Mapping[str, object]
    start_ms: int
    remind_ms: int
    expire_ms: int


def scene(
    name: str,
    *,
    lang: str = "",
    given: Mapping[str, object] | None = None,
    alone: bool = False,
    start_ms: int,
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = Path(".env"),
) -> Scene:
    """The survey `name` (an id, or a flow file), ready to be answered.

    koe.yaml is used where there is one; what is missing for a server (tokens, keys) is not asked for.

    Args:
        name: A flow's id, built in or of KOE_FLOWS_DIR; or the path of a flow file.
        lang: "ja" or "en"; the shop's language when empty.
        given: Values that replace the made-up ones: of blanks in texts (name, item …) or of event data (order.amount).
        alone: Leave koe.yaml aside, so that what is said does not depend on this shop.
        start_ms: When the talk takes place.
        environ: The environment; that of the process when left out.
        env_file: The .env file; a missing one is an empty one.

    Raises:
        ConfigErrors: koe.yaml or a flow is broken: every problem, with file and line.
        CannotTalk: no such flow, no such language, or a value that the flow's texts cannot do without is missing.
    """
    shop, library = _read(os.environ if environ is None else environ, env_file, alone)
    flow = _find(name, library)
    spoken = lang or (shop.language if shop.language in flow.languages else flow.languages[0])
    if spoken not in flow.languages:
        raise CannotTalk(f"{flow.id} has no language {spoken!r}; there are {', '.join(flow.languages)}.")
    rule = next((rule for rule in shop.triggers if rule.flow == flow.id), None)
    expire_ms = _EXPIRE_MS if rule is None or rule.expires_ms is None else rule.expires_ms
    promises = Promises(shop)
    variables = {
        **_PERSON[spoken],
        "brand": shop.brand_in(spoken),
        "team": shop.team_in(spoken),
        "here": library.deck.text("here.line", spoken, {}),
        "date": promises.date_text(start_ms, spoken),
        "expires": promises.date_text(start_ms + expire_ms, spoken),
        "privacy_url": shop.privacy_url,
        "retention": promises.retention_text(spoken),
        "support_hours": promises.support_hours_text(spoken),
    }
    facts: dict[str, object] = {f"order.{field}": value for field, value in _ORDER.items()}
    facts["order.item"] = variables["item"]
    occasions = [value for when in flow.blocks.values() if when for value in when.literals("event.type")]
    facts["event.type"] = rule.on if rule is not None and rule.on else next(iter(occasions), "")
    for key, value in (given or {}).items():
        # a blank of a text has a plain name, a field of the event a dotted one; a flow may use a plain name as well
        facts[key] = value
        if "." not in key:
            variables[key] = "" if value is None else str(value)
    made = Scene(
        flow=flow,
        library=library,
        shop=shop,
        lang=spoken,
        vars=variables,
        facts={key: value for key, value in facts.items() if key in flow.fact_names},
        start_ms=start_ms,
        remind_ms=_REMIND_MS if rule is None or rule.remind_ms is None else rule.remind_ms,
        expire_ms=expire_ms,
    )
    try:
        new_state(flow, lang=spoken, vars=variables, facts=facts)
    except ValueError as error:
        raise CannotTalk(f"{error}; give it one with --with name=value.") from error
    return made


def parse_given(words: Sequence[str]) -> dict[str, object]:
    """`name=value` words as values: numbers and true/false as in YAML, everything else as text.

    >>> parse_given(["order.amount=2000", "item=Blue mug"])
    {'order.amount': 2000, 'item': 'Blue mug'}

    Raises:
        CannotTalk: a word without a name and a `=`.
    """
    found: dict[str, object] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.strip():
            raise CannotTalk(f"--with {word!r}: write name=value, such as order.amount=2000.")
        try:
            plain = parse_yaml(f"value: {value}".encode(), "--with").data["value"]
        except DefinitionErrors:
            plain = value
        found[name.strip()] = plain if isinstance(plain, bool | int | float | str) else value
    return found


def _read(environ: Mapping[str, str], env_file: Path | None, alone: bool) -> tuple[Shop, Library]:
    settings_problems: list[Problem] = []
    settings = read_settings(environ, env_file, settings_problems)
    # half a platform or a bad port is the server's concern; where the files are is ours
    problems = [found for found in settings_problems if found.message.startswith(("KOE_CONFIG", "KOE_FLOWS_DIR"))]
    named = "config" in settings.model_fields_set
    if not alone and (named or settings.config.exists()):
        shop, library = read_shop(settings.config, settings.flows_dir, problems)
    else:
        shop, library = Shop.model_validate(ANY_SHOP), None
        own = files.OwnDefinitions()
        if settings.flows_dir is not None:
            own = files.read_definitions(settings.flows_dir, problems)
        try:
            library = builtin_library(
                rules_of(Unhappy()), flows=own.flows, deck=own.deck, instruments=own.instruments, blocks=own.blocks
            )
        except DefinitionErrors as errors:
            problems.extend(errors.problems)
    if problems or shop is None or library is None:
        raise ConfigErrors(problems)
    return shop, library


def _find(name: str, library: Library) -> Flow:
    if name in library.flows:
        return library.flows[name]
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        problems: list[Problem] = []
        source = files.read_yaml(Path(name), problems)
        if source is None:
            raise ConfigErrors(problems)
        try:
            return library.read_flow(source)
        except DefinitionErrors as errors:
            raise ConfigErrors(errors.problems) from errors
    known = ", ".join(sorted(library.flows))
    raise CannotTalk(
        f"there is no flow {name!r}; there are {known}. Your own are found in KOE_FLOWS_DIR, or by their file: "
        "koe talk surveys/mine.yaml"
    )
