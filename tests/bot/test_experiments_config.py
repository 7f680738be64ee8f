"""The experiments of koe.yaml against the surveys and rules: each mistake a sentence at its line."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from bot.config import Config
from bot.experiments import described, form_of
from bot.loading import ConfigErrors, load
from reports.experiments import Trial
from reports.instruments import bundled_instruments, specs_of
from reports.metrics import statistics_of


def shop(**experiment: Any) -> dict[str, Any]:
    written: dict[str, Any] = {
        "id": "x",
        "trigger": "after-purchase",
        "metric": "nps",
        "n_per_arm": 100,
        "start": "2026-12-01",
        "end": "2026-12-31",
        "arms": [{"id": "A", "weight": 0.5}, {"id": "B", "weight": 0.5, "remind": "24h"}],
    }
    return {
        "brand": {"ja": "声の店", "en": "Koe Store"},
        "privacy_url": "https://example.com/privacy",
        "support_hours": {"days": "mon-fri", "hours": "10:00-17:00"},
        "retention": "2y",
        "triggers": [
            {"id": "after-purchase", "on": "delivery", "flow": "after_purchase", "remind": "72h"},
            {"id": "after-support", "on": "ticket_resolved", "flow": "after_support"},
            {"id": "quarterly", "every": "90d", "flow": "relational"},
        ],
        "experiments": [{**written, **experiment}],
    }


def loaded(folder: Path, written: dict[str, Any]) -> Config:
    (folder / "koe.yaml").write_text(json.dumps(written, indent=1, ensure_ascii=False), "utf-8")
    return load(environ={"KOE_CONFIG": str(folder / "koe.yaml")}, env_file=None)


def arm_b(**changes: Any) -> dict[str, Any]:
    return {"arms": [{"id": "A", "weight": 0.5}, {"id": "B", "weight": 0.5, **changes}]}


TEXT = {"ja": "こんにちは。", "en": "Hello."}


@pytest.mark.parametrize(
    ("experiment", "says"),
    [
        ({"trigger": "after-purchas"}, "experiment x: there is no trigger after-purchas; did you mean after-purchase?"),
        ({"trigger": None, "flow": "after_purchse"}, "there is no flow after_purchse; did you mean after_purchase?"),
        ({"trigger": None, "flow": "unboxing"}, "no trigger asks unboxing, so nobody would take part"),
        (arm_b(flow="unboxng"), "arm B: there is no flow unboxng; did you mean unboxing?"),
        (arm_b(flow="after_support"), "arm B: after_support is about another touchpoint than after_purchase"),
        (arm_b(texts={"inv.purchas": TEXT}), "arm B: the copy deck has no text inv.purchas; did you mean"),
        (arm_b(texts={"inv.relational": TEXT}), "arm B: after_purchase never says inv.relational, so this changes"),
        (
            arm_b(texts={"inv.purchase": {**TEXT, "ja": "{coupon}です。"}}),
            "inv.purchase (ja): nothing fills {coupon}",
        ),
        (arm_b(texts={"inv.purchase": {"ja": "こんにちは。"}}), "arms[2].texts.inv.purchase.en: missing"),
        (arm_b(questions={"satt": "csat5"}), "arm B: after_purchase asks no question satt; did you mean sat?"),
        (arm_b(questions={"sat": "csat6"}), "arm B: unknown instrument `csat6`; did you mean `csat5`?"),
        (arm_b(questions={"nps": {"variant": "famly"}}), "arm B: `nps` has no variant `famly`"),
        (arm_b(remind="8d"), "arm B: remind must come before the survey of trigger after-purchase expires"),
        (arm_b(delay="soon"), "'soon' is not a duration"),
        (arm_b(weight=0.6), "the weights of the arms add up to 1.1; they must add up to 1"),
        ({"metric": "npss"}, "after_purchase asks no npss; did you mean nps?"),
        ({"metric": "reason"}, "after_purchase asks no reason"),
        (
            arm_b(questions={"sat": "csat10"}, metric="csat10") | {"metric": "sat5"},
            "csat10 cannot be compared with sat5",
        ),
        ({"n_per_arm": None, "detect": {"from": 50, "to": 60}}, "detect: nps is a net; say variance and change"),
        (
            {**arm_b(questions={"nps": {"variant": "family"}}), "end": "2026-12-20"},
            "the arms ask nps in different words; run both for at least 28 days, not 20",
        ),
        ({"trigger": "quarterly", **arm_b(delay="1d")}, "trigger quarterly asks in a rhythm, the same for everybody"),
        ({"arm": []}, "unknown key; did you mean arms?"),
    ],
)
def test_a_mistake_is_a_sentence_at_its_line(tmp_path: Path, experiment: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigErrors) as raised:
        loaded(tmp_path, shop(**experiment))
    found = [problem for problem in raised.value.problems if says in problem.message]
    assert found, [str(problem) for problem in raised.value.problems]
    lines = (tmp_path / "koe.yaml").read_text("utf-8").splitlines()
    assert found[0].line > next(n for n, line in enumerate(lines) if '"experiments"' in line)


@pytest.mark.parametrize("key", ["inv.purchase", "end.warm", "inv.reminder", "sticker", "end.apology.promised"])
def test_a_text_that_the_survey_says_may_be_another_in_an_arm(tmp_path: Path, key: str) -> None:
    config = loaded(tmp_path, shop(**arm_b(texts={key: TEXT})))
    assert [arm.texts.keys() for arm in config.shop.experiments[0].arms] == [{}.keys(), {key: 0}.keys()]


def test_two_experiments_at_one_touchpoint_must_not_overlap(tmp_path: Path) -> None:
    written = shop()
    (first,) = written["experiments"]
    written["experiments"].append({**first, "id": "y", "start": "2026-12-31", "end": "2027-01-31"})
    with pytest.raises(ConfigErrors) as raised:
        loaded(tmp_path, written)
    (problem,) = raised.value.problems
    assert "experiment y: runs together with x at the touchpoint purchase" in problem.message
    assert "let it start after 2026-12-31" in problem.message
    written["experiments"][1]["start"] = "2027-01-01"
    assert len(loaded(tmp_path, written).shop.experiments) == 2


def test_experiments_at_different_touchpoints_may_run_together(tmp_path: Path) -> None:
    written = shop()
    (first,) = written["experiments"]
    written["experiments"].append({**first, "id": "y", "trigger": "after-support", "metric": "response_rate"})
    assert len(loaded(tmp_path, written).library.arms) == 4


def test_what_the_digest_is_told_of_an_experiment_is_what_it_reads(tmp_path: Path) -> None:
    arms = arm_b(questions={"nps": {"variant": "family"}}, delay="3d")
    config = loaded(tmp_path, shop(**arms, looks=3))
    (trial,) = [Trial.model_validate_json(json.dumps(data)) for data in described(config.shop, config.library)]
    assert [arm.metric for arm in trial.arms] == ["nps", "nps"]
    assert (trial.measurement, trial.from_planning, trial.looks) == (True, True, 3)
    assert [aside[:2] for aside in trial.asides] == [("nps", "nps.family")]
    days = (date(2026, 12, 31) - date(2026, 12, 1)).days + 1
    assert trial.end_ms - trial.start_ms == days * 86_400_000


def test_the_forms_of_all_instruments_are_those_that_scoring_gives_them() -> None:
    instruments = bundled_instruments()
    for name, spec in specs_of(instruments).items():
        assert form_of(instruments[name]) == statistics_of(spec)[0].form, name
