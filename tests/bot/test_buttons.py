"""What a button carries, and what comes back from strangers' buttons."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.buttons import LINE_DATA, SLACK_VALUE, Button, pack, parse

SESSION = "0197a3c2-1111-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("session", "node", "value"),
    [
        (SESSION, "nps", "10"),
        (SESSION, "sat", ""),
        (SESSION, "@exit", "undelivered"),
        (SESSION, "@control", "skip"),
        ("", "@rights", "erase"),
        (SESSION, "gift", "a:b:c|d&e=f"),
        (SESSION, "emotion", "安心感"),
    ],
)
def test_what_is_packed_comes_back(session: str, node: str, value: str) -> None:
    assert parse(pack(session, node, value)) == Button(session, node, value)


@given(
    st.uuids().map(str) | st.just(""),
    st.from_regex(r"@?[A-Za-z][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    st.text(max_size=60),
)
def test_any_button_comes_back_or_is_refused_when_it_is_packed(session: str, node: str, value: str) -> None:
    try:
        data = pack(session, node, value)
    except ValueError:
        return
    assert parse(data) == Button(session, node, value)
    assert len(data.encode("utf-16-le")) // 2 <= LINE_DATA


def test_length_is_counted_in_utf16_units_as_line_does() -> None:
    room = LINE_DATA - len(pack(SESSION, "q", ""))
    assert pack(SESSION, "q", "x" * room)
    assert pack(SESSION, "q", "🍎" * (room // 2))
    with pytest.raises(ValueError, match="needs 301 characters"):
        pack(SESSION, "q", "x" * (room + 1))
    with pytest.raises(ValueError, match="characters, the platform takes"):
        pack(SESSION, "q", "🍎" * (room // 2 + 1))


def test_each_place_has_its_own_limit() -> None:
    assert pack(SESSION, "q", "x" * 1000, limit=SLACK_VALUE)
    with pytest.raises(ValueError, match="characters, the platform takes"):
        pack(SESSION, "q", "x" * SLACK_VALUE, limit=SLACK_VALUE)


@pytest.mark.parametrize(
    ("session", "node", "value"),
    [
        ("not-a-uuid", "nps", "1"),
        (SESSION.upper(), "nps", "1"),
        (SESSION, "", "1"),
        (SESSION, "a:b", "1"),
        (SESSION, "質問", "1"),
        (SESSION, "nps", "line\nbreak"),
        (SESSION, "nps", "\ud800"),
    ],
)
def test_a_button_that_could_not_be_read_back_is_a_mistake_of_its_author(session: str, node: str, value: str) -> None:
    with pytest.raises(ValueError, match="could not be read back"):
        pack(session, node, value)


@pytest.mark.parametrize(
    "data",
    [
        "",
        None,
        7,
        [],
        {"session": SESSION},
        "action=buy&itemid=1",
        "k1",
        "k1::",
        "k1:::",
        f"k2:{SESSION}:nps:9",
        f"k1:{SESSION}:nps",
        f"k1:{SESSION[:-1]}:nps:9",
        f"k1:{SESSION}::9",
        f"k1:{SESSION}:n\x00ps:9",
        f"k1:{SESSION}:nps:9\n",
        f" k1:{SESSION}:nps:9",
        f"k1:{SESSION}:nps:\ud800",
        "k1:" + ":" * 100_000,
        "x" * 10_000_000,
    ],
)
def test_data_that_is_not_ours_is_nobodys_tap(data: object) -> None:
    assert parse(data) is None


@given(st.text() | st.text(alphabet="k1:0123456789abcdef-@") | st.binary())
def test_hostile_data_never_raises(data: object) -> None:
    button = parse(data)
    assert button is None or pack(button.session_id, button.node, button.value, limit=SLACK_VALUE) == data
