"""Definition files as plain data that still know their lines. Pure: bytes in, values out.

YAML is read by the rules of its version 1.2 "core" schema: only `true`/`false` are booleans, so `yes`, `no`, `on` and
`10:00` stay the words an author wrote. Anchors and aliases are refused: no definition needs them, and they are how a
small file becomes a huge one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import yaml

try:  # the C parser is ten times faster; the pure one understands the same language
    from yaml import CSafeLoader as _Loader
except ImportError:  # pragma: no cover - only on builds without libyaml
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"
Path = tuple[str | int, ...]

MAX_BYTES = 1_000_000
MAX_DEPTH = 40


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to put right, and where."""

    file: str
    line: int
    """1-based; 0 when it concerns the whole file."""
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line else f"{self.file}: {self.message}"


class DefinitionErrors(Exception):
    """Definitions that cannot be used, every problem at once (`.problems`, in order of file and line)."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(set(problems), key=lambda p: (p.file, p.line, p.message)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True, slots=True)
class Source:
    """A file as plain data, with the line of each key and item."""

    name: str
    data: dict[str, Plain]
    lines: Mapping[Path, int]

    def line(self, path: Path) -> int:
        """The line of what stands at `path`, or of the nearest thing around it; 0 for the file itself."""
        for end in range(len(path), 0, -1):
            found = self.lines.get(path[:end])
            if found is not None:
                return found
        return 0

    def problem(self, path: Path, message: str) -> Problem:
        """A Problem at `path`."""
        return Problem(self.name, self.line(path), message)


def parse_yaml(data: bytes, name: str) -> Source:
    """The file as plain data. `name` is what its problems are called by.

    Raises:
        DefinitionErrors: not UTF-8 (with the likely encoding named), not YAML, duplicate keys, aliases, tabs, too
            large or too deep, or not a mapping at the top.
    """
    text = _decode(data, name)
    try:
        node = _compose(text, name)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        raise DefinitionErrors([Problem(name, line, _explain(error, text, line))]) from error
    except yaml.YAMLError as error:
        raise DefinitionErrors([Problem(name, 0, f"not readable as YAML: {_first_line(error)}")]) from error
    if node is None:
        raise DefinitionErrors([Problem(name, 0, "the file is empty; it must hold `key: value` lines")])
    if not isinstance(node, yaml.MappingNode):
        raise DefinitionErrors(
            [Problem(name, _line(node.start_mark), "the file must hold `key: value` lines at the top")]
        )
    problems: list[Problem] = []
    lines: dict[Path, int] = {}
    plain = _construct(node, (), name, lines, problems)
    if problems:
        raise DefinitionErrors(problems)
    assert isinstance(plain, dict)
    return Source(name, plain, lines)


def _decode(data: bytes, name: str) -> str:
    if len(data) > MAX_BYTES:
        raise DefinitionErrors([Problem(name, 0, f"larger than {MAX_BYTES:,} bytes; a definition is a short text")])
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DefinitionErrors([Problem(name, 1, "saved as UTF-16; save it as UTF-8")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DefinitionErrors([Problem(name, line, f"not UTF-8{_guess_encoding(data)}; save it as UTF-8")]) from error
    return text


def _guess_encoding(data: bytes) -> str:
    for encoding, spoken in (("cp932", "Shift_JIS"), ("euc_jp", "EUC-JP")):
        try:
            data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return f" (it looks like {spoken})"
    return ""


def _line(mark: object) -> int:
    line = getattr(mark, "line", -1)
    return line + 1 if isinstance(line, int) else 0


def _compose(text: str, name: str) -> yaml.Node | None:
    # Events are flat: depth, aliases and a second document are found before anything recursive reads the file.
    depth = documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            message = "anchors (&) and aliases (*) are not used here; write the value out"
            raise DefinitionErrors([Problem(name, _line(event.start_mark), message)])
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise DefinitionErrors(
                    [Problem(name, _line(event.start_mark), f"nested deeper than {MAX_DEPTH} levels")]
                )
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise DefinitionErrors(
                    [Problem(name, _line(event.start_mark), "a second document (---); use one file each")]
                )
    node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    return node


def _construct(node: yaml.Node, path: Path, name: str, lines: dict[Path, int], problems: list[Problem]) -> Plain:
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Plain] = {}
        for key_node, value_node in node.value:
            line = _line(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                problems.append(Problem(name, line, "a key must be a plain word"))
                continue
            key = key_node.value
            here = (*path, key)
            if key in mapping:
                problems.append(Problem(name, line, f"`{key}` stands twice (first in line {lines[here]})"))
                continue
            lines[here] = line
            mapping[key] = _construct(value_node, here, name, lines, problems)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        items: list[Plain] = []
        for index, item in enumerate(node.value):
            here = (*path, index)
            lines[here] = _line(item.start_mark)
            items.append(_construct(item, here, name, lines, problems))
        return items
    return _scalar(node)


_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")


def _scalar(node: yaml.Node) -> Plain:
    value: str = node.value
    if getattr(node, "style", None):  # quoted or a block; a plain scalar has None, or "" from the C parser
        return value
    if value in ("", "~", "null", "Null", "NULL"):
        return None
    if value in ("true", "True", "TRUE"):
        return True
    if value in ("false", "False", "FALSE"):
        return False
    if _INT.fullmatch(value):
        return int(value)
    if _FLOAT.fullmatch(value):
        return float(value)
    return value


def _explain(error: yaml.MarkedYAMLError, text: str, line: int) -> str:
    at_line = text.splitlines()[line - 1] if 0 < line <= len(text.splitlines()) else ""
    if "\t" in at_line[: len(at_line) - len(at_line.lstrip())]:
        return "a tab at the beginning of the line; indent with spaces"
    if error.problem and "could not find expected ':'" in error.problem:
        return "a `:` is missing after a key (or a text with `: ` in it needs quotes)"
    if error.problem and "mapping values are not allowed" in error.problem:
        return "a `:` where none may stand; check the indentation, or put the text in quotes"
    return f"not readable as YAML: {error.problem or _first_line(error)}"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
