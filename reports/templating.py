"""Where templates come from: a folder of the shop's own goes before ours, file by file.

Whatever a template does, what people wrote stays text: HTML is escaped as it is printed and no template can switch that
off; text for Slack is escaped as a whole when the templates are done (`reports.render.to_mrkdwn`). Templates reach the
values they are given and nothing of the machine.

Source: https://jinja.palletsprojects.com/en/stable/sandbox/
"""

from __future__ import annotations

import traceback
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import ChoiceLoader, FileSystemLoader, PackageLoader, PrefixLoader, StrictUndefined, TemplateSyntaxError
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

OURS = "koe"
"""Our own templates under their names with this in front, for those that only change a part of one:
`{% extends "koe/page/page.html.j2" %}`."""
BOLD_ON, BOLD_OFF = "\x02", "\x03"
PAGE = "page/page.html.j2"
STYLE = "page/page.css"
SCRIPT = "page/page.js"

_UNESCAPED = ("safe", "striptags", "autoescape")


def our_names() -> list[str]:
    """The templates of a digest and its page: those that a shop may put its own in the place of."""
    found = PackageLoader("reports", "templates").list_templates()
    # charts are drawn for Slack, too, and what `/survey results` answers is no digest
    return sorted(name for name in found if not name.startswith("charts/") and not name.endswith("/results.j2"))


@cache
def text_templates(own: Path | None) -> ImmutableSandboxedEnvironment:
    """For text and mrkdwn; `| b` marks bold."""
    env = _environment(own, html=False)
    env.filters["b"] = _bold
    return env


@cache
def html_templates(own: Path | None) -> ImmutableSandboxedEnvironment:
    """For HTML: what is printed is escaped, without a way around it."""
    return _environment(own, html=True)


class Sentences:
    """What a digest and `koe metrics` say in one language: every sentence comes out of a template, the shop's own where
    it has one."""

    def __init__(self, lang: str, own: Path | None = None, **given: object) -> None:
        """`given` are the names that every template knows: `w` (`reports.words.Words`), in a digest also `d`."""
        self._lang = lang
        self._templates = text_templates(own)
        self._given = given

    def said(self, template: str, /, **more: object) -> str:
        """What a template says with bold marked, "care" for `{lang}/care.j2`: its lines without the blank ones, without
        spaces at their ends; "" when it says nothing.

        Raises:
            UndefinedError: the template reads a name that it is not given.
        """
        return "\n".join(self.lines(template, **more))

    def lines(self, template: str, /, **more: object) -> list[str]:
        """The same line by line."""
        text = self._templates.get_template(f"{self._lang}/{template}.j2").render(self._given, **more)
        return [line for line in (line.strip() for line in text.splitlines()) if line]


def file_text(own: Path | None, name: str) -> str:
    """A style sheet or script: the shop's own where there is one.

    Raises:
        TemplateSyntaxError: it would end the element that it stands in.
    """
    mine = None if own is None else own / name
    found = mine is not None and mine.is_file()
    text = mine.read_text("utf-8") if mine and found else (files("reports") / "templates" / name).read_text("utf-8")
    for number, line in enumerate(text.splitlines(), 1):
        if "</" in line or "<!--" in line:
            raise TemplateSyntaxError("`</` and `<!--` cannot stand here: they would end it", number, name, str(mine))
    return text.strip()


def place_of(error: BaseException) -> tuple[str, int] | None:
    """(file, line) of the template in which an error arose; None for an error of nobody's template."""
    if isinstance(error, TemplateSyntaxError):
        return (error.filename or error.name or "", error.lineno)
    frames = traceback.extract_tb(error.__traceback__)
    return next(((frame.filename, frame.lineno or 0) for frame in reversed(frames) if _is_template(frame)), None)


def clean(text: str) -> str:
    """Text that may stand in HTML and XML: control characters, halves of pairs and reversed writing are gone."""
    return "".join(
        char for char in text if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs", "Cn", "Cf", "Co")
    )


_REVERSED = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    """A value without control characters, line separators and reversed writing, but for line breaks and the marks of
    bold: names come from outside."""
    return "".join(
        char
        for char in text
        if char in (BOLD_ON, BOLD_OFF, "\n")
        or (unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp") and char not in _REVERSED)
    )


def plain(text: str) -> str:
    """Text without the marks of bold."""
    return text.replace(BOLD_ON, "").replace(BOLD_OFF, "")


def _is_template(frame: traceback.FrameSummary) -> bool:
    return frame.filename.endswith(".j2")


def _environment(own: Path | None, *, html: bool) -> ImmutableSandboxedEnvironment:
    ours = PackageLoader("reports", "templates")
    under_our_name = PrefixLoader({OURS: ours})
    env = ImmutableSandboxedEnvironment(
        loader=ChoiceLoader([ours, under_our_name] if own is None else [FileSystemLoader(own), ours, under_our_name]),
        undefined=StrictUndefined,
        autoescape=html,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printed_html if html else _printed_text,
        extensions=[_AlwaysEscaped] if html else [],
    )
    if html:
        for name in ("safe", "striptags"):
            del env.filters[name]
    return env


class _AlwaysEscaped(Extension):
    """Says in words what is not there, before the parser says it in its own."""

    def filter_stream(self, stream: TokenStream) -> Iterable[Token]:
        return self._looked_at(stream)

    @staticmethod
    def _looked_at(stream: TokenStream) -> Iterator[Token]:
        before = ""
        for token in stream:
            if token.type == "name" and token.value in _UNESCAPED and before in ("pipe", "block_begin"):
                message = f"`{token.value}` is not available in a page: what people wrote is always escaped"
                raise TemplateSyntaxError(message, token.lineno, stream.name, stream.filename)
            before = token.type
            yield token


def _bold(text: object) -> str:
    return f"{BOLD_ON}{text}{BOLD_OFF}"


def _printed_text(value: object) -> object:
    return printable(value) if isinstance(value, str) else value


def _printed_html(value: object) -> object:
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
