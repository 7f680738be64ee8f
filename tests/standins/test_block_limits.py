"""What the local Slack takes and refuses of blocks, messages and views: the documented limits, each at its edge."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from bot.standins.blocks import Surface, text_length, validate_blocks, validate_message, validate_view


def plain(words: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": words}


def mrkdwn(words: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": words}


def section(words: str = "x", **more: Any) -> dict[str, Any]:
    return {"type": "section", "text": mrkdwn(words), **more}


def button(number: int = 0, **more: Any) -> dict[str, Any]:
    return {"type": "button", "text": plain("x"), "action_id": f"a{number}", **more}


def actions(*elements: dict[str, Any]) -> dict[str, Any]:
    return {"type": "actions", "elements": list(elements)}


def options(count: int, value: str = "v", label: str = "x") -> list[dict[str, Any]]:
    return [{"text": plain(label), "value": f"{value}{n}"} for n in range(count)]


def choose(kind: str, count: int, **more: Any) -> dict[str, Any]:
    return {"type": kind, "action_id": "a", "options": options(count), **more}


def asks(element: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "input", "label": plain("x"), "element": element, **more}


def quoted(words: str) -> dict[str, Any]:
    inside = {"type": "rich_text_quote", "elements": [{"type": "text", "text": words}]}
    return {"type": "rich_text", "elements": [inside]}


def line_chart(labels: list[str], **more: Any) -> dict[str, Any]:
    data = [{"label": label, "value": n} for n, label in enumerate(labels)]
    chart = {
        "type": "line",
        "series": [{"name": "NPS", "data": data}],
        "axis_config": {"categories": labels, "y_label": "NPS"},
    }
    return {"type": "data_visualization", "title": "NPS", "chart": {**chart, **more}}


def data_table(rows: int, columns: int = 2) -> dict[str, Any]:
    head = [{"type": "raw_text", "text": "x"}] * columns
    body = [[{"type": "raw_number", "value": 1}] * columns for _ in range(rows)]
    return {"type": "data_table", "caption": "x", "rows": [head, *body]}


TEXT_INPUT = {"type": "plain_text_input", "action_id": "a"}


JUNK: list[Any] = [None, True, -1, 1.5, "", "x", [], {}, [None], [[1]], {"type": ["x"]}, {"type": {"a": 1}}]


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place inside a payload (the first three items of each list)."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, child in children:
        yield from paths(child, (*path, key))


def with_junk(value: Any, path: tuple[Any, ...], junk: Any) -> Any:
    if not path:
        return junk
    changed = copy.copy(value)
    changed[path[0]] = with_junk(value[path[0]], path[1:], junk)
    return changed


TAKEN: dict[str, tuple[Surface, list[dict[str, Any]]]] = {
    "fifty blocks in a message": ("message", [section()] * 50),
    "a hundred blocks in a modal": ("modal", [section()] * 100),
    "eleven buttons": ("message", [actions(*[button(n) for n in range(11)])]),
    "twenty-five buttons": ("message", [actions(*[button(n) for n in range(25)])]),
    "ten radio options": ("message", [actions(choose("radio_buttons", 10))]),
    "a select with a hundred options": ("modal", [asks(choose("static_select", 100))]),
    "groups": (
        "modal",
        [
            asks(
                {
                    "type": "static_select",
                    "action_id": "a",
                    "option_groups": [{"label": plain("x"), "options": options(2)}],
                    "initial_option": options(2)[1],
                }
            )
        ],
    ),
    "user text in a quote": ("message", [quoted("<!channel> & *x*")]),
    "a list": (
        "message",
        [
            {
                "type": "rich_text",
                "elements": [
                    {
                        "type": "rich_text_list",
                        "style": "bullet",
                        "elements": [{"type": "rich_text_section", "elements": [{"type": "text", "text": "x"}]}],
                    }
                ],
            }
        ],
    ),
    "a header, fields, context and a divider": (
        "home",
        [
            {"type": "header", "text": plain("x" * 150)},
            {"type": "section", "fields": [mrkdwn("x" * 2000)] * 10},
            {"type": "context", "elements": [mrkdwn("x"), {"type": "image", "image_url": "x", "alt_text": "x"}]},
            {"type": "divider"},
        ],
    ),
    "a line chart of twelve weeks": ("message", [line_chart([f"W{n}" for n in range(12)])]),
    "a table of a hundred rows": ("message", [data_table(100)]),
    "a file of Slack's own": ("message", [{"type": "image", "slack_file": {"id": "F1"}, "alt_text": "x"}]),
}

REFUSED: dict[str, tuple[Surface, list[Any], str]] = {
    "fifty-one blocks in a message": ("message", [section()] * 51, "/blocks"),
    "a hundred and one blocks in a Home": ("home", [section()] * 101, "/blocks"),
    "an unknown block": ("message", [{"type": "chart"}], "/blocks/0/type"),
    "an unknown property": ("message", [section(texts="x")], "/blocks/0/texts"),
    "a text of 3001": ("message", [section("x" * 3001)], "/blocks/0/text/text"),
    "an empty text": ("message", [section("")], "/blocks/0/text/text"),
    "a section of nothing": ("message", [{"type": "section"}], "/blocks/0"),
    "eleven fields": ("message", [{"type": "section", "fields": [mrkdwn("x")] * 11}], "/blocks/0/fields"),
    "a field of 2001": (
        "message",
        [{"type": "section", "fields": [mrkdwn("x" * 2001)]}],
        "/blocks/0/fields/0/text",
    ),
    "a header in mrkdwn": ("message", [{"type": "header", "text": mrkdwn("x")}], "/blocks/0/text/type"),
    "a header of 151": ("message", [{"type": "header", "text": plain("x" * 151)}], "/blocks/0/text/text"),
    "twenty-six buttons": ("message", [actions(*[button(n) for n in range(26)])], "/blocks/0/elements"),
    "two buttons of one action": ("message", [actions(button(), button())], "/blocks/0"),
    "two blocks of one id": ("message", [section(block_id="b"), section(block_id="b")], "/blocks/1/block_id"),
    "a button of 76": (
        "message",
        [actions({**button(), "text": plain("x" * 76)})],
        "/blocks/0/elements/0/text/text",
    ),
    "a button's value of 2001": (
        "message",
        [actions(button(value="x" * 2001))],
        "/blocks/0/elements/0/value",
    ),
    "a green button": ("message", [actions(button(style="success"))], "/blocks/0/elements/0/style"),
    "eleven radio options": ("message", [actions(choose("radio_buttons", 11))], "/blocks/0/elements/0/options"),
    "eleven checkboxes": ("message", [actions(choose("checkboxes", 11))], "/blocks/0/elements/0/options"),
    "six overflow options": ("message", [actions(choose("overflow", 6))], "/blocks/0/elements/0/options"),
    "an option's value of 76": (
        "message",
        [actions({**choose("static_select", 0), "options": [{"text": plain("x"), "value": "v" * 76}]})],
        "/blocks/0/elements/0/options/0/value",
    ),
    "an initial option from elsewhere": (
        "modal",
        [asks(choose("static_select", 2, initial_option={"text": plain("y"), "value": "v0"}))],
        "/blocks/0/element",
    ),
    "a text input outside an input block": ("message", [actions(TEXT_INPUT)], "/blocks/0/elements/0/type"),
    "a button as an input": ("modal", [asks(button())], "/blocks/0/element/type"),
    "an input longer than 3000": (
        "modal",
        [asks({**TEXT_INPUT, "max_length": 3001})],
        "/blocks/0/element/max_length",
    ),
    "eleven context elements": (
        "message",
        [{"type": "context", "elements": [mrkdwn("x")] * 11}],
        "/blocks/0/elements",
    ),
    "a picture without a description": (
        "message",
        [{"type": "image", "image_url": "https://x/1.png"}],
        "/blocks/0/alt_text",
    ),
    "an empty rich text": ("message", [quoted("")], "/blocks/0/elements/0/elements/0/text"),
    "a table in a modal": ("modal", [data_table(1)], "/blocks/0/type"),
    "a data table of 101 rows": ("message", [data_table(101)], "/blocks/0/rows"),
    "a data table without rows": ("message", [data_table(0)], "/blocks/0/rows"),
    "two tables": ("message", [{"type": "table", "rows": [[{"type": "raw_text", "text": "x"}]]}] * 2, "/blocks"),
    "a chart label of 21": ("message", [line_chart(["x" * 21])], "/blocks/0/chart/series/0/data/0/label"),
    "a chart with a hole": (
        "message",
        [line_chart(["a", "b"], axis_config={"categories": ["a", "b", "c"]})],
        "/blocks/0/chart/series/0/data",
    ),
    "seven slices": (
        "message",
        [
            {
                "type": "data_visualization",
                "title": "x",
                "chart": {"type": "pie", "segments": [{"label": str(n), "value": 1} for n in range(7)]},
            }
        ],
        "/blocks/0/chart/segments",
    ),
    "three charts": ("message", [line_chart(["a"])] * 3, "/blocks"),
    "markdown of 12,001 in all": ("message", [{"type": "markdown", "text": "x" * 6001}] * 2, "/blocks"),
}


def view(**more: Any) -> dict[str, Any]:
    return {"type": "modal", "title": plain("x"), "submit": plain("x"), "blocks": [asks(TEXT_INPUT)], **more}


@pytest.mark.parametrize("name", TAKEN)
def test_what_slack_takes_is_taken(name: str) -> None:
    surface, blocks = TAKEN[name]
    assert validate_blocks(blocks, surface) == []


@pytest.mark.parametrize("name", REFUSED)
def test_what_slack_refuses_is_refused_at_its_place(name: str) -> None:
    surface, blocks, pointer = REFUSED[name]
    problems = validate_blocks(blocks, surface)
    assert any(problem.endswith(f"[json-pointer:{pointer}]") for problem in problems), problems


@pytest.mark.parametrize("blocks", [None, "x", [None], [{"type": None}], [{"type": "actions", "elements": "x"}]])
def test_broken_blocks_are_problems_and_not_errors(blocks: Any) -> None:
    assert validate_blocks(blocks)


def test_all_text_of_a_message_counts_together() -> None:
    blocks = [section("x" * 3000) for _ in range(4)]
    assert text_length(blocks) == 12_000
    assert validate_message({"text": "x", "blocks": blocks}) == []
    assert "too much text" in validate_message({"text": "x", "blocks": [*blocks, section("x" * 1001)]})[0]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"title": None}, "/view/title"),
        ({"title": plain("x" * 25)}, "/view/title/text"),
        ({"submit": None}, "/view/submit"),
        ({"close": mrkdwn("x")}, "/view/close/type"),
        ({"private_metadata": "x" * 3001}, "/view/private_metadata"),
        ({"callback_id": "x" * 256}, "/view/callback_id"),
        ({"blocks": [section()] * 101}, "/view/blocks"),
        ({"blocks": None}, "/view/blocks"),
        ({"type": "window"}, "/view/type"),
        ({"colour": "red"}, "/view/colour"),
    ],
)
def test_a_view_is_refused_at_its_place(change: dict[str, Any], pointer: str) -> None:
    assert validate_view(view()) == []
    problems = validate_view(view(**change))
    assert any(problem.endswith(f"[json-pointer:{pointer}]") for problem in problems), problems


@pytest.mark.parametrize("name", TAKEN)
def test_junk_anywhere_is_a_problem_or_harmless_and_never_an_error(name: str) -> None:
    surface, blocks = TAKEN[name]
    for path in paths(blocks):
        for junk in JUNK:
            changed = with_junk(blocks, path, junk)
            validate_blocks(changed, surface)
            validate_message({"blocks": changed})
            validate_view(view(blocks=changed))
