"""A drawing: one for the page (SVG) and for Slack (a PNG of the same SVG), with the table behind it.

templates/charts/ draws. Colours are classes, so that one drawing serves light, dark and print; blue and orange stay
apart for every kind of colour vision. The PNG is made with a font of our own that has the Japanese glyphs: a font of
the machine may print blanks without an error. The serving process never loads this module's renderer.

Source: docs/decisions/0018-one-drawing.md.
"""

from __future__ import annotations

import importlib.util
import math
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reports.templating import clean
from reports.words import Language

PNG_SCALE = 2.0
FONT_FAMILY = "IPAexGothic"

Colours = Mapping[str, str]
LIGHT: Colours = {
    "paper": "#ffffff", "plot": "#f6f8fb", "ink": "#1b2430", "mute": "#515c6b", "grid": "#dfe4ea", "axis": "#8a94a3",
    "accent": "#1d5fa6", "band": "#c9dcf2", "warm": "#b3530a", "pale": "#c3cad4", "on": "#ffffff", "off": "#eceff3",
    "h0": "#eaf1fa", "h1": "#cadcf1", "h2": "#a2c3e6", "h3": "#6f9fd4", "h4": "#3a75b8", "h5": "#17508f",
}  # fmt: skip
"""Name → colour on white paper. Text reaches 4.5:1 on what it stands on; the browser test measures it."""
DARK: Colours = {
    "paper": "#14181e", "plot": "#1b2129", "ink": "#eef2f7", "mute": "#aab4c2", "grid": "#2b333e", "axis": "#7b8696",
    "accent": "#7db4f0", "band": "#24405f", "warm": "#f0a35e", "pale": "#55606e", "on": "#10151b", "off": "#222932",
    "h0": "#1d2b3b", "h1": "#20405f", "h2": "#235585", "h3": "#34699f", "h4": "#7db4f0", "h5": "#b4d6fa",
}  # fmt: skip
_RULES = """
.chart text{font-family:%(font)s;font-size:13px;fill:%(ink)s}
.chart .k-mute{fill:%(mute)s}.chart .k-small{font-size:11.5px}.chart .k-strong{font-weight:600}
.chart .k-title{font-size:16px;font-weight:600}
.chart .k-on{fill:%(on)s}
.k-mid{text-anchor:middle}.k-end{text-anchor:end}
.k-grid{stroke:%(grid)s;stroke-width:1}.k-axis{stroke:%(axis)s;stroke-width:1}.k-dash{stroke-dasharray:4 4}
.k-plot{fill:%(plot)s}.k-band{fill:%(band)s}
.k-line{fill:none;stroke:%(accent)s;stroke-width:2;stroke-linejoin:round}
.k-dot{fill:%(accent)s;stroke:%(paper)s;stroke-width:1.5}.k-dot-open{fill:%(paper)s;stroke:%(accent)s;stroke-width:2}
.k-bar{stroke:%(accent)s;stroke-width:3;stroke-linecap:round}.k-whisker{stroke:%(axis)s;stroke-width:1}
.k-accent{fill:%(accent)s}.k-warm{fill:%(warm)s}.k-pale{fill:%(pale)s}.k-off{fill:%(off)s}
.k-h0{fill:%(h0)s}.k-h1{fill:%(h1)s}.k-h2{fill:%(h2)s}.k-h3{fill:%(h3)s}.k-h4{fill:%(h4)s}.k-h5{fill:%(h5)s}
"""


def style(colours: Colours, *, font: str) -> str:
    """The style sheet of every chart in one set of colours; the values may be CSS variables."""
    return _RULES % {**colours, "font": font}


@dataclass(frozen=True, slots=True)
class Table:
    """What a chart shows, in words: for those who do not see it, and for copying."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing that is not yet placed: the same chart may stand on a page and in Slack."""

    title: str
    desc: str
    """What somebody reads instead of seeing it."""
    lang: Language
    width: int
    height: int
    table: Table
    kind: str
    parts: Mapping[str, Any] = field(repr=False)

    def svg(self, id: str, *, heading: bool = False) -> Markup:  # noqa: A002 - what it becomes in the document
        """The drawing; `id` is unique on the page, `heading` writes the title above it."""
        templates = _templates()
        body = Markup(templates.get_template(f"{self.kind}.svg.j2").render(**self.parts))  # noqa: S704 - autoescaped
        drawn = templates.get_template("frame.svg.j2").render(c=self, body=body, id=id, heading=heading)
        return Markup(drawn)  # noqa: S704 - our own template, autoescaped

    def png(self) -> bytes:
        """The same drawing on white paper with its title, twice as many pixels as units."""
        import resvg_py

        drawn: bytes = resvg_py.svg_to_bytes(
            svg_string=str(self.svg("c", heading=True)),
            style_sheet=style(LIGHT, font=FONT_FAMILY),
            background=LIGHT["paper"],
            skip_system_fonts=True,
            font_files=[str(font_file())],
            font_family=FONT_FAMILY,
            sans_serif_family=FONT_FAMILY,
            zoom=PNG_SCALE,
        )
        return bytes(drawn)


def font_file() -> Path:
    """IPAexGothic (IPA Font License), of the package that carries it; the package itself is not loaded."""
    spec = importlib.util.find_spec("matplotlib_fontja")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("matplotlib-fontja is not installed: run `make` again, or install requirements/run.txt")
    return Path(spec.origin).parent / "fonts" / "ipaexg.ttf"


def _finalize(value: object) -> object:
    """XML has no control characters, not even escaped; a half of a surrogate pair is no character."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return clean(value)


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("reports", "templates/charts"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )


def text_width(text: str, size: float = 13.0) -> float:
    """About how wide a text is: full-width characters one em, others a little over half of one."""
    return size * sum(1.0 if unicodedata.east_asian_width(char) in "WFA" else 0.56 for char in text)


def fitting(text: str, width: float, size: float = 13.0) -> str:
    """The text, cut with an ellipsis where it is wider than that."""
    text = clean(text).replace("\n", " ")
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text + "…"


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers that cover [low, high], at most so many and one more at either end.

    >>> ticks(-12, 33)
    [-20.0, -10.0, 0.0, 10.0, 20.0, 30.0, 40.0]
    """
    span = max(high - low, 1e-6)
    size = 10.0 ** math.floor(math.log10(span / most))
    step = next(size * factor for factor in (1, 2, 5, 10) if span / (size * factor) <= most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(place * step, 10) for place in range(first, last + 1)]
