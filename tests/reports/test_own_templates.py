"""Templates of a shop's own: in the place of ours, tried before a Monday needs them, never a way around escaping."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest
from jinja2 import TemplateSyntaxError
from jinja2.exceptions import SecurityError
from report_history import History, weeks_ago
from report_pages import page_in, views_of
from test_digest_page import PAYLOADS, read

from reports.digest import Shop
from reports.page.page import render_page
from reports.render import render_text, render_voices_text
from reports.sample import TZ, samples
from reports.template_check import TemplateProblem, first_failure, template_problems
from reports.templating import Sentences, html_templates, our_names, text_templates
from reports.words import Words


def put(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text, "utf-8")


def test_the_samples_read_every_template_so_that_no_own_one_goes_untried(tmp_path: Path) -> None:
    assert first_failure(tmp_path) is None
    read_ones: set[str] = set()
    for env in (text_templates(tmp_path), html_templates(tmp_path)):
        assert env.cache is not None
        read_ones |= {name for _, name in env.cache.keys()}  # noqa: SIM118 - jinja's cache is no dict
    assert read_ones >= {name for name in our_names() if name.endswith(".j2")}


def test_a_folder_that_only_changes_words_has_no_problem(tmp_path: Path) -> None:
    put(tmp_path, "ja/title.j2", "{{ d.brand }}のお客さまの声 {{ w.window(d.week_start, d.week_end) }}")
    put(tmp_path, "en/head.j2", '{% include "koe/en/head.j2" %}')
    put(tmp_path, "en/drivers.j2", 'n={{ analysis.n }}{% include "en/drivers_lines.j2" %}')
    put(
        tmp_path,
        "page/page.html.j2",
        '{% extends "koe/page/page.html.j2" %}{% block foot %}<p>{{ title }}</p>{% endblock %}',
    )
    put(tmp_path, "page/page.css", "body{background:#fff}")
    (tmp_path / "README.txt").write_text("ours", "utf-8")
    assert template_problems(tmp_path) == []


@pytest.mark.parametrize("language", ["ja", "en"])
def test_every_sentence_of_a_digest_is_a_template_s(language: str, tmp_path: Path) -> None:
    for name in our_names():
        if name.startswith(f"{language}/") and not name.endswith("/words.j2"):
            put(tmp_path, name, "*")
    for context, views in samples():
        if context.language == language:
            voices = render_voices_text(context, templates=tmp_path)
            for chosen in (chosen for text in context.texts.found for chosen in text.chosen) if context.texts else ():
                voices = voices.replace(chosen.text, "")
            assert set(render_text(context, templates=tmp_path) + voices) <= set("*\n「」“”")
            page = render_page(context, views, tz=TZ, templates=tmp_path)["html"]
            ours = render_page(context, views, tz=TZ)["html"]
            say = Sentences(language, d=context, w=Words(context.language, limits=context.limits))
            for found in context.drivers:
                title = say.said("drivers_title", analysis=found)
                assert (title in ours, title in page) == (True, False)


def test_each_problem_is_named_with_file_line_and_what_is_unknown(tmp_path: Path) -> None:
    put(tmp_path, "ja/title.j2", "{{ d.brand }}\n{% if d.pause == 'paused' %}{{ nowhere }}{% endif %}")
    put(tmp_path, "en/head.j2", "\n\n{{ d.scroe }}")
    put(tmp_path, "en/todo.j2", "{% if %}")
    put(tmp_path, "en/haed.j2", "x")
    put(tmp_path, "ja/part.j2", "{{ 1 // 0 }}")
    put(tmp_path, "page/page.css", "p{}\n</style>")
    put(tmp_path, "page/page.html.j2", "<title>\n{{ title | safe }}</title>")
    (tmp_path / "ja" / "foot.j2").write_bytes("声の店".encode("cp932"))
    found = {problem.file: problem for problem in template_problems(tmp_path)}
    lines = [found[file].line for file in ("ja/title.j2", "en/head.j2", "page/page.css", "page/page.html.j2")]
    assert lines == [2, 3, 2, 2]
    for file, words in {
        "ja/title.j2": "'nowhere' is undefined",
        "en/head.j2": "has no attribute 'scroe'",
        "en/todo.j2": "Expected an expression",
        "en/haed.j2": "did you mean en/head.j2?",
        "ja/part.j2": "ZeroDivisionError",
        "page/page.css": "would end it",
        "page/page.html.j2": "always escaped",
        "ja/foot.j2": "not UTF-8",
    }.items():
        assert words in found[file].message, file
    assert len(found) == 8


def test_a_part_that_ours_read_is_blamed_when_a_macro_of_it_is_gone(tmp_path: Path) -> None:
    put(tmp_path, "ja/words.j2", "{# nothing #}")
    (problem,) = template_problems(tmp_path)
    assert problem.file == "ja/words.j2"
    assert "koe/ja/" in problem.message


def test_a_folder_that_is_not_there_is_named() -> None:
    assert template_problems(Path("nowhere")) == [
        TemplateProblem("", 0, "nowhere is no folder; make it, or remove KOE_TEMPLATES_DIR")
    ]


@pytest.mark.parametrize(
    "trick", ["{{ title | safe }}", "{% autoescape false %}{{ title }}{% endautoescape %}", "{{ title | striptags }}"]
)
def test_a_page_cannot_switch_escaping_off(trick: str, tmp_path: Path) -> None:
    put(tmp_path, "page/page.html.j2", f"<title>\n{trick}</title>")
    context, views = next(samples())
    with pytest.raises(TemplateSyntaxError, match="always escaped"):
        render_page(context, views, tz=TZ, templates=tmp_path)


def test_a_template_reaches_nothing_of_the_machine(tmp_path: Path) -> None:
    put(tmp_path, "page/page.html.j2", "{{ title.__class__.__mro__[1].__subclasses__() }}")
    context, views = next(samples())
    with pytest.raises(SecurityError):
        render_page(context, views, tz=TZ, templates=tmp_path)


@pytest.mark.parametrize("payload", PAYLOADS)
async def test_names_stay_text_in_a_page_of_one_s_own(payload: str, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    put(
        own,
        "page/page.html.j2",
        "<p>{{ title }}{{ css.join([title]) }}{{ (css[:0] ~ title) }}{{ title | upper }}{{ title | replace('x', 'y') }}"
        "{% for group in scope_groups %}{% for option in group.options %}<b>{{ option.name }}</b>{% endfor %}"
        "{% endfor %}{% set kept %}{{ title }}{% endset %}{{ kept }}{{ css.unescape()[:0] ~ title }}</p>",
    )
    history = History()
    for back in range(3):
        for segment in (payload, "other"):
            history.nps(8, 4, 20, monday=weeks_ago(back), segment=segment)
    context, views = await views_of(history, tmp_path, shop=Shop(brand={"ja": payload, "en": payload}))
    html = render_page(context, views, tz=TZ, templates=own)["html"]
    assert {tag for tag, _ in read(html).elements} <= {"p", "b"}
    assert html.count("<b>") == len(views.scopes)
    assert page_in("ja", context, views)["html"] != html


def test_an_own_style_sheet_is_the_one_that_the_policy_names(tmp_path: Path) -> None:
    put(tmp_path, "page/page.css", "body{background:#fed}")
    context, views = next(samples())
    made = render_page(context, views, tz=TZ, templates=tmp_path)
    inlined = made["html"].partition("<style>")[2].partition("</style>")[0]
    assert "background:#fed" in inlined
    digest = base64.b64encode(hashlib.sha256(inlined.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in made["csp"]
