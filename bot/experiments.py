"""The experiments of koe.yaml against everything else that is set: each arm's survey, and what is wrong with it.

The rules of assignment are pure (flows.experiments); what came of an experiment is told by a digest (reports).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from bot.config import Shop
from bot.files import hint
from flows import experiments
from flows.checks import GIVEN
from flows.days import midnight_ms
from flows.definitions import Instrument, Text
from flows.experiments import BEHAVIOURS, RESPONSE_RATE, Arm, Experiment
from flows.flow import Flow
from flows.source import DefinitionErrors, Plain, Problem, Source
from flows.survey import NEEDED_TEXTS, Library
from flows.texts import LANGS, Template, template_problems
from flows.triggers import TriggerRule
from storage.records import Registration
from storage.store import Tx

_FORMS = {"net": "net", "top2": "share", "share": "share", "distribution": "share", "mean": "mean"}
_SPOKEN = {"net": "variance and change", "share": "from and to", "mean": "sd and change"}


def form_of(instrument: Instrument) -> str:
    """How two scores of an instrument are compared: as a net, a share or a mean, by its leading statistic."""
    return _FORMS[instrument.statistic]


def read_arms(
    shop: Shop,
    library: Library,
    files: Mapping[str, Source],
    config: Source,
    problems: list[Problem],
    *,
    broken: Collection[str] = (),
) -> dict[tuple[str, str], Flow]:
    """(experiment, arm) → the survey that the arm asks; what is wrong is added to `problems`.

    Nothing is said of an experiment whose survey or rule is wrong itself: that has its own sentence.

    Args:
        shop: Its experiments and rules, as far as they can be read.
        library: The surveys without experiments.
        files: Survey → its file.
        config: koe.yaml, for the lines of problems.
        broken: The surveys whose files are wrong.
    """
    rules, entries = config.data.get("triggers"), config.data.get("experiments")
    all_rules = len(shop.triggers) == len(rules) if isinstance(rules, list) else rules is None
    places = iter(enumerate(entries if isinstance(entries, list) else ()))
    arms: dict[tuple[str, str], Flow] = {}
    for index, experiment in enumerate(shop.experiments):
        place = next(at for at, entry in places if isinstance(entry, dict) and entry.get("id") == experiment.id)
        surveys = {base_flow(shop, experiment), *(arm.flow for arm in experiment.arms)}
        if not surveys.isdisjoint(broken) or not (all_rules or rules_in(shop, experiment)):
            continue
        reader = _Reader(shop, library, files, experiment)
        arms |= {(experiment.id, arm_id): flow for arm_id, flow in reader.read(shop.experiments[:index]).items()}
        problems += [
            config.problem(("experiments", place, *path), f"experiment {experiment.id}: {message}")
            for path, message in reader.problems
        ]
    return arms


class _Reader:
    """One experiment, its problems collected with their places in its section."""

    def __init__(self, shop: Shop, library: Library, files: Mapping[str, Source], experiment: Experiment) -> None:
        self._shop = shop
        self._library = library
        self._files = files
        self._experiment = experiment
        self.problems: list[tuple[tuple[str | int, ...], str]] = []

    def read(self, earlier: Sequence[Experiment]) -> dict[str, Flow]:
        experiment = self._experiment
        base = self._base()
        if base is None:
            return {}
        for other in earlier:
            theirs = base_flow(self._shop, other)
            touchpoint = self._library.flows[theirs].touchpoint if theirs in self._library.flows else ""
            if touchpoint == base.touchpoint and experiment.overlaps(other):
                message = f"runs together with {other.id} at the touchpoint {touchpoint}; a customer takes part in one"
                self._note((), f"{message}: let it start after {other.end}")
        flows = {arm.id: flow for index, arm in enumerate(experiment.arms) if (flow := self._arm(base, arm, index))}
        if len(flows) == len(experiment.arms):
            self._measured(flows)
        return flows

    def _note(self, path: tuple[str | int, ...], message: str) -> None:
        self.problems.append((path, message))

    def _base(self) -> Flow | None:
        wanted = self._experiment
        if wanted.trigger is not None and not rules_in(self._shop, wanted):
            known = [rule.id for rule in self._shop.triggers]
            self._note(("trigger",), f"there is no trigger {wanted.trigger}{hint(wanted.trigger, known)}")
            return None
        flow_id = base_flow(self._shop, wanted)
        if flow_id not in self._library.flows:
            self._note(("flow",), f"there is no flow {flow_id}{hint(flow_id, self._library.flows)}")
            return None
        if not rules_in(self._shop, wanted):
            self._note(("flow",), f"no trigger asks {flow_id}, so nobody would take part; name one in triggers")
            return None
        return self._library.flows[flow_id]

    def _arm(self, base: Flow, arm: Arm, index: int) -> Flow | None:
        path = ("arms", index)
        before = len(self.problems)
        flow_id = base.id if arm.flow is None else arm.flow
        flow = self._library.flows.get(flow_id)
        if flow is None:
            known = self._library.flows
            self._note((*path, "flow"), f"arm {arm.id}: there is no flow {flow_id}{hint(flow_id, known)}")
            return None
        if (flow.touchpoint, flow.survey_kind) != (base.touchpoint, base.survey_kind):
            message = f"arm {arm.id}: {flow_id} is about another touchpoint than {base.id}"
            self._note((*path, "flow"), f"{message} ({flow.touchpoint}, not {base.touchpoint})")
        self._times(arm, path)
        self._texts(arm, path)
        if arm.rewrites and len(self.problems) == before:
            flow = self._rewritten(flow, arm, path)
        return flow

    def _times(self, arm: Arm, path: tuple[str | int, ...]) -> None:
        for rule in rules_in(self._shop, self._experiment):
            changed = experiments.treated(rule, arm)
            if rule.every_ms is not None and {"delay_ms", "at_minute"} & arm.timing.keys():
                message = f"trigger {rule.id} asks in a rhythm, the same for everybody; remove delay and at"
                self._note(path, f"arm {arm.id}: {message}")
            if changed.remind_ms is not None and changed.remind_ms >= changed.expires_ms:
                message = f"remind must come before the survey of trigger {rule.id} expires"
                self._note((*path, "remind"), f"arm {arm.id}: {message}")

    def _texts(self, arm: Arm, path: tuple[str | int, ...]) -> None:
        deck = self._library.deck
        for key, text in arm.texts.items():
            at = (*path, "texts", key)
            if not deck.has(key):
                self._note(at, f"arm {arm.id}: the copy deck has no text {key}{hint(key, deck.ids())}")
                continue
            for lang, words in zip(LANGS, (text.ja, text.en), strict=True):
                wrong = template_problems(words)
                known = GIVEN | deck.template(key, lang).blanks
                wrong += [f"nothing fills {{{name}}}" for name in sorted(Template(words).blanks - known)]
                for message in wrong:
                    self._note(at, f"arm {arm.id}: {key} ({lang}): {message}")

    def _rewritten(self, flow: Flow, arm: Arm, path: tuple[str | int, ...]) -> Flow | None:
        source = self._files[flow.id]
        questions = source.data.get("questions")
        written = (
            [question for question in questions if isinstance(question, dict)] if isinstance(questions, list) else []
        )
        ids = [str(question.get("id")) for question in written]
        for question_id in arm.questions:
            if question_id not in ids:
                message = f"arm {arm.id}: {flow.id} asks no question {question_id}{hint(question_id, ids)}"
                self._note((*path, "questions", question_id), message)
                return None
        asked: list[Plain] = []
        for question in written:
            change = arm.questions.get(str(question.get("id")), {})
            keys: dict[str, Plain] = {"instrument": change} if isinstance(change, str) else dict(change)
            asked.append({**question, **keys, "id": question.get("id")})
        rewritten = Source(source.name, {**source.data, "questions": asked}, source.lines)
        try:
            found = self._library.read_flow(rewritten, arm.texts)
        except DefinitionErrors as errors:
            for problem in errors.problems:
                self._note(path, f"arm {arm.id}: {problem.message}")
            return None
        for key, text in arm.texts.items():
            if not self._says(rewritten, found, key, text):
                message = f"{flow.id} never says {key}, so this changes nothing; name a text of that survey"
                self._note((*path, "texts", key), f"arm {arm.id}: {message}")
        return found

    def _says(self, source: Source, flow: Flow, key: str, text: Text) -> bool:
        """Whether a text is heard in a survey: in any talk, after one of its endings, or since it is part of it."""
        if key in NEEDED_TEXTS or key in {f"{ending.say}.promised" for ending in flow.endings}:
            return True
        other = Text(ja=f"{text.ja}…", en=f"{text.en}…")
        try:
            spoken = [self._library.read_flow(source, {key: words}).definition() for words in (text, other)]
        except DefinitionErrors:
            return True  # a label that is too long with the dots is one that is checked, and so one that is said
        one, another = ({k: v for k, v in json.loads(read).items() if k != "texts"} for read in spoken)
        return bool(one != another)

    # -------------------------------------------------------------------------------------------- what is measured

    def _measured(self, flows: Mapping[str, Flow]) -> None:
        """The primary metric exists in every arm and can be compared between them."""
        experiment = self._experiment
        if experiment.metric in BEHAVIOURS:
            form = "share" if experiment.metric == RESPONSE_RATE else "mean"
        else:
            read = [self._instrument(arm, index, flows[arm.id]) for index, arm in enumerate(experiment.arms)]
            first, *others = read
            if first is None or None in others:
                return
            form = form_of(first)
            for arm, other in zip(experiment.arms[1:], others, strict=True):
                if other is not None and _comparable(other) != _comparable(first):
                    message = f"arm {arm.id}: {other.id} cannot be compared with {first.id}: another scale or score"
                    self._note(("metric",), message)
                    return
        if experiment.detect is not None and experiment.detect.form != form:
            message = f"detect: {experiment.metric} is a {form}; say {_SPOKEN[form]}"
            self._note(("detect",), message)
        lasts = (experiment.end - experiment.start).days + 1
        if experiments.measures_words(experiment, flows) and lasts < experiments.MEASUREMENT_DAYS:
            message = (
                f"the arms ask {experiment.metric} in different words; run both for at least "
                f"{experiments.MEASUREMENT_DAYS} days, not {lasts}"
            )
            self._note(("end",), message)

    def _instrument(self, arm: Arm, index: int, flow: Flow) -> Instrument | None:
        """The instrument the arm is judged by, if the arm asks it."""
        wanted = self._experiment.metric_of(arm)
        asked = [question.instrument for question in flow.questions if question.instrument and question.numeric]
        if wanted in asked:
            return self._library.instruments[wanted]
        path = ("metric",) if arm.metric is None else ("arms", index, "metric")
        self._note(path, f"arm {arm.id}: {flow.id} asks no {wanted}{hint(wanted, [*asked, *BEHAVIOURS])}")
        return None


def base_flow(shop: Shop, experiment: Experiment) -> str:
    """The survey an experiment is about; "" when its rule does not exist."""
    if experiment.flow is not None:
        return experiment.flow
    return next((rule.flow for rule in rules_in(shop, experiment)), "")


def rules_in(shop: Shop, experiment: Experiment) -> tuple[TriggerRule, ...]:
    """The rules whose invitations take part."""
    return tuple(r for r in shop.triggers if r.id == experiment.trigger or r.flow == experiment.flow)


def unregistered(shop: Shop, known: Sequence[Registration], now_ms: int) -> list[str]:
    """A sentence about each experiment that is not as it was registered before it started."""
    found: list[str] = []
    stored = {registration.id: registration for registration in known}
    for experiment in shop.experiments:
        registration = stored.get(experiment.id)
        if registration is None or registration.definition != experiment.definition():
            start = experiment.start if registration is None else experiments.start_of(registration.definition)
            begun = now_ms >= midnight_ms(start, shop.tz)
            if not begun and now_ms < midnight_ms(experiment.start, shop.tz):
                continue
            if registration is None or not begun:
                message = f"its start {experiment.start} has passed; an experiment is registered before it starts: "
                message += "choose a later start"
            else:
                message = f"it was changed after its start on {start}; put it back as it was, or end it by "
                message += "removing it and register another under a new id"
            found.append(f"experiment {experiment.id}: {message}")
    return found


def register(tx: Tx, shop: Shop, now_ms: int) -> list[str]:
    """Note each experiment as it stands in koe.yaml, until it starts; sentences about those that may not be as they
    are, with nothing noted then."""
    wrong = unregistered(shop, tx.registrations(), now_ms)
    for experiment in () if wrong else shop.experiments:
        tx.register_experiment(Registration(experiment.id, experiment.definition(), now_ms))
    return wrong


def described(shop: Shop, library: Library) -> list[dict[str, Any]]:
    """The experiments as `reports.experiments.Trial` reads them."""
    found: list[dict[str, Any]] = []
    for experiment in shop.experiments:
        flows = {arm.id: library.arms[experiment.id, arm.id] for arm in experiment.arms}
        first_ms, end_ms = experiment.days(shop.tz)
        name = {"ja": experiment.id, "en": experiment.id} if experiment.name is None else experiment.name.model_dump()
        found.append(
            {
                "id": experiment.id,
                "name": name,
                "touchpoint": flows[experiment.arms[0].id].touchpoint,
                "metric": experiment.metric,
                "arms": [
                    {
                        "id": arm.id,
                        "weight": arm.weight,
                        "metric": experiment.metric_of(arm),
                        "revision": flows[arm.id].revision,
                    }
                    for arm in experiment.arms
                ],
                "n_per_arm": experiment.planned_n,
                "start_ms": first_ms,
                "end_ms": end_ms,
                "looks": experiment.looks,
                "within_ms": experiment.within_ms,
                "response_ms": experiments.response_ms(experiment, rules_in(shop, experiment)),
                "from_planning": experiment.acts_early,
                "measurement": experiments.measures_words(experiment, flows),
                "asides": sorted(_asked(flows) - _asked({"": flows[experiment.arms[0].id]})),
            }
        )
    return found


def _asked(flows: Mapping[str, Flow]) -> set[tuple[str, str, str]]:
    """(instrument, wording, label set) of every question of these surveys."""
    return {
        (q.instrument, q.wording_id, q.label_set) for flow in flows.values() for q in flow.questions if q.instrument
    }


def _comparable(instrument: Instrument) -> tuple[object, ...]:
    return (
        instrument.kind,
        form_of(instrument),
        instrument.low,
        instrument.high,
        set(instrument.positive),
        set(instrument.negative),
    )
