"""Talks as text that a person can read and a test can repeat: what went in, what came out. Pure.

The format stands in tests/flows/talks.py, which plays such files; `koe talk --record` writes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import yaml

from flows.exchange import Ask, Choice, Output, Record, Say, Wake
from flows.visible import REVERSED

__all__ = ["render_transcript", "told"]


def told(output: Output) -> str:
    """An output in a few readable lines."""
    match output:
        case Ask():
            lines = [f"ask {output.question}" + (" (invitation)" if output.invitation else "")]
            lines += [f"  {line}" for part in (output.intro, output.text) if part for line in part.split("\n")]
            if output.low:
                lines.append(f"  {output.low} ↔ {output.high}")
            lines += _buttons(output.choices) + _buttons(output.controls) + _buttons(output.exits)
            if output.chosen is not None:
                lines.append(f"  chosen: {output.chosen!r}")
            lines += [f"  † {line}" for line in output.small.split("\n") if line]
            lines += _buttons(output.small_choices)
            lines.append(f"  alt: {output.alt}")
            return "\n".join(lines)
        case Say():
            return "\n".join(["say", *(f"  {line}" for line in output.text.split("\n")), *_buttons(output.choices)])
        case Wake():
            return f"wake {output.timer}"
        case Record():
            late = " late" if output.late else ""
            return f"record {output.question} = {output.value!r} {output.missing}{late}".rstrip() + (
                f" 「{output.label}」" if output.label else ""
            )
        case _:
            return repr(output)


def render_transcript(head: Mapping[str, object], talk: Sequence[Mapping[str, object]]) -> str:
    """A transcript file: what the talk starts from, then a line for each input with its outputs.

    >>> print(render_transcript({"flow": "unboxing"}, [{"in": "begin", "out": ["wake text"]}]), end="")
    flow: unboxing
    talk:
    - in: begin
      out:
      - wake text
    """
    whole = {**head, "talk": [dict(line) for line in talk]}
    written = yaml.dump(whole, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=1000)
    # YAML escapes control characters by itself, and takes reversed writing for letters
    return _REVERSED.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


def _buttons(choices: tuple[Choice, ...]) -> list[str]:
    return ["  " + "".join(f"[{choice.label}]" for choice in choices)] if choices else []


class _Dumper(yaml.SafeDumper):
    """Several lines as a block, so that bubbles read as they look."""


_REVERSED = re.compile(f"[{REVERSED}]")


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = '"' if _REVERSED.search(text) else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _block)
