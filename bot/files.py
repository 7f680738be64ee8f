"""Reading what people wrote: koe.yaml, .env, the folder of flow files. Disk in, sources and problems out."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values

from flows.source import DefinitionErrors, Problem, Source, parse_yaml

_KEY_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=")
_MAX_ENV_BYTES = 100_000


@dataclass(frozen=True, slots=True)
class EnvFile:
    """The values of a .env file, and the line each stands in. Empty when there is no such file."""

    name: str
    values: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OwnDefinitions:
    """What a shop's own folder adds: flows at its top, texts under copy/, instruments under instruments/, blocks of
    questions under blocks/."""

    flows: tuple[Source, ...] = ()
    deck: tuple[Source, ...] = ()
    instruments: tuple[Source, ...] = ()
    blocks: tuple[Source, ...] = ()


def read_env(path: Path, problems: list[Problem]) -> EnvFile:
    """The .env file at `path`; what is wrong is added to `problems`. A missing file is an empty one."""
    name = str(path)
    if not path.exists():
        return EnvFile(name)
    data = _read(path, problems)
    if data is None:
        return EnvFile(name)
    if len(data) > _MAX_ENV_BYTES:
        problems.append(Problem(name, 0, "larger than 100 kB; settings are short lines NAME=value"))
        return EnvFile(name)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problems.append(Problem(name, line, "not UTF-8 (Shift_JIS?); save the file as UTF-8"))
        # the lines that can be read count, so that what stands in them is not called missing
        text = data.decode("utf-8-sig", "replace")
    written_lines = ["" if "\ufffd" in written else written for written in text.splitlines()]
    lines: dict[str, int] = {}
    for number, written in enumerate(written_lines, start=1):
        if not written.strip() or written.lstrip().startswith("#"):
            continue
        match = _KEY_LINE.match(written)
        if match is None:
            problems.append(Problem(name, number, "not a setting; write NAME=value, or # before a comment"))
        elif match[1] in lines:
            problems.append(Problem(name, number, f"{match[1]} stands twice (first in line {lines[match[1]]})"))
        else:
            lines[match[1]] = number
    # no interpolation: a `$` in a secret is a character of the secret
    parsed = dotenv_values(stream=StringIO("\n".join(written_lines)), interpolate=False)
    return EnvFile(name, {key: value for key, value in parsed.items() if value is not None}, lines)


def read_yaml(path: Path, problems: list[Problem]) -> Source | None:
    """The YAML file at `path`, or None after adding what is wrong with it to `problems`."""
    data = _read(path, problems)
    if data is None:
        return None
    try:
        return parse_yaml(data, str(path))
    except DefinitionErrors as errors:
        problems.extend(errors.problems)
        return None


def read_definitions(folder: Path, problems: list[Problem]) -> OwnDefinitions:
    """Every YAML file of the folder (KOE_FLOWS_DIR); what is wrong with it is added to `problems`."""
    if not folder.is_dir():
        problems.append(Problem(str(folder), 0, "KOE_FLOWS_DIR names no folder; create it or remove the setting"))
        return OwnDefinitions()
    return OwnDefinitions(
        flows=_sources(folder, problems),
        deck=_sources(folder / "copy", problems),
        instruments=_sources(folder / "instruments", problems),
        blocks=_sources(folder / "blocks", problems),
    )


def _sources(folder: Path, problems: list[Problem]) -> tuple[Source, ...]:
    if not folder.is_dir():
        return ()
    files = sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml") and path.is_file())
    return tuple(source for path in files if (source := read_yaml(path, problems)) is not None)


def _read(path: Path, problems: list[Problem]) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        problems.append(Problem(str(path), 0, "there is no such file; copy koe.example.yaml to it, or set KOE_CONFIG"))
    except IsADirectoryError:
        problems.append(Problem(str(path), 0, "this is a folder, not a file"))
    except OSError as error:
        problems.append(Problem(str(path), 0, f"cannot be read: {error.strerror}"))
    return None


def hint(name: str, known: Iterable[str]) -> str:
    """What may have been meant by a name nobody knows, to end a sentence with; "" when nothing comes close and the
    known ones are too many to list."""
    names = list(dict.fromkeys(known))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.8)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; there are {', '.join(names)}" if 0 < len(names) <= 12 else ""
