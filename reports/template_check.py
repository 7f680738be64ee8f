"""Whether a shop's own templates can be used: each is tried with digests in every state and both languages."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory

from jinja2 import Environment, TemplateError, TemplateSyntaxError, UndefinedError, meta, nodes

from reports.page.page import render_page
from reports.render import render_slack, render_text, render_thread, render_voices, render_voices_text
from reports.sample import TZ, samples
from reports.templating import (
    OURS,
    PAGE,
    SCRIPT,
    STYLE,
    file_text,
    html_templates,
    our_names,
    place_of,
    text_templates,
)

_NAMES = 'the names are in docs/how-to.md ("Words of your own in the digest")'


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """What is wrong with a template. `file` is its path in the folder, `line` counts from 1; 0 is all of it."""

    file: str
    line: int
    message: str


def template_problems(own: Path) -> list[TemplateProblem]:
    """Every template of a folder that could not be used, with what is wrong: at most one problem of each while it
    cannot be rendered, all unknown names of it when it can. Empty when the next digest will have them."""
    if not own.is_dir():
        return [TemplateProblem("", 0, f"{own} is no folder; make it, or remove KOE_TEMPLATES_DIR")]
    found: dict[str, list[TemplateProblem]] = {}
    with TemporaryDirectory(prefix="koe-templates-") as folder:
        # a copy, from which what is broken is taken, so that the rest is tried with ours in its place
        copy = Path(folder).resolve() / "templates"
        shutil.copytree(own, copy)
        names = [path.relative_to(copy).as_posix() for path in sorted(copy.rglob("*")) if _is_template(path)]
        for name in names:
            if problems := list(_at_rest(copy, name)):
                found[name] = problems
                (copy / name).unlink()
        named = {name for name in names if name not in found}
        for name in sorted(named - set(our_names()) - _used(copy, named)):
            found[name] = [_unknown(name)]
        while (problem := first_failure(copy)) is not None:
            found[problem.file] = [problem]
            if not problem.file:
                break
            (copy / problem.file).unlink()
    return [problem for name in sorted(found) for problem in found[name]]


def _is_template(path: Path) -> bool:
    return path.is_file() and path.suffix in (".j2", ".css", ".js")


def _environment(own: Path | None, name: str) -> Environment:
    return html_templates(own) if name.startswith("page/") else text_templates(own)


def _at_rest(own: Path, name: str) -> Iterator[TemplateProblem]:
    """What can be said without rendering: of all branches, also those that no sample takes."""
    try:
        if name in (STYLE, SCRIPT):
            file_text(own, name)
            return
        source = (own / name).read_text("utf-8")
        env = _environment(own, name)
        tree = env.parse(source, name, str(own / name))
        env.compile(source, name, str(own / name))
    except UnicodeDecodeError:
        yield TemplateProblem(name, 0, "is not UTF-8; save it as UTF-8")
        return
    except TemplateSyntaxError as error:
        yield TemplateProblem(name, error.lineno, error.message or "cannot be read")
        return
    if name not in our_names():
        return
    for unknown in sorted(meta.find_undeclared_variables(tree) - _given(name)):
        line = min(node.lineno for node in tree.find_all(nodes.Name) if node.name == unknown)
        yield TemplateProblem(name, line, f"'{unknown}' is undefined; {_NAMES}")


def _given(name: str) -> set[str]:
    """The names that a template of ours is given, with those of the templates that it reads in its place."""
    ours = _environment(None, name)
    loader = ours.loader
    assert loader is not None
    original = ours.parse(loader.get_source(ours, name)[0])
    given = meta.find_undeclared_variables(original)
    for read in meta.find_referenced_templates(original):
        given |= _given(read) if read is not None else set()
    # a page has the macros of the one that it extends
    return given | ({macro.name for macro in original.find_all(nodes.Macro)} if name == PAGE else {"d", "w"})


def _used(own: Path, names: Iterable[str]) -> set[str]:
    """What the templates themselves read."""
    used: set[str] = set()
    for name in names:
        if name.endswith(".j2"):
            tree = _environment(own, name).parse((own / name).read_text("utf-8"))
            used |= {found for found in meta.find_referenced_templates(tree) if found is not None}
    return used


def _unknown(name: str) -> TemplateProblem:
    near = get_close_matches(name, our_names(), 1)
    hint = f"did you mean {near[0]}?" if near else f"ours are named like {our_names()[0]}"
    return TemplateProblem(name, 0, f"no template of this name is ever used; {hint}")


def first_failure(own: Path) -> TemplateProblem | None:
    """The first thing that goes wrong when everything is rendered; None when nothing does."""
    for context, views in samples():
        try:
            render_slack(context, templates=own)
            render_thread(context, templates=own)
            render_text(context, templates=own)
            render_voices(context, templates=own)
            render_voices_text(context, templates=own)
            render_page(context, views, tz=TZ, templates=own)
        # a template computes what it likes, and may fail as any program does
        except Exception as error:
            place = place_of(error)
            if place is None:
                raise
            return _said(error, *place, own, context.language)
    return None


def _said(error: Exception, file: str, line: int, own: Path, language: str) -> TemplateProblem:
    path = Path(file)
    what = str(error) if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"
    more = f"; {_NAMES}" if isinstance(error, UndefinedError) else ""
    if path.is_relative_to(own):
        return TemplateProblem(path.relative_to(own).as_posix(), line, f"{what} (a sample digest, {language}){more}")
    # ours failed over one of theirs that it reads: a macro is gone
    name = f"{path.parent.name}/{path.name}"
    tree = _environment(None, name).parse(path.read_text("utf-8"))
    read = [found for found in meta.find_referenced_templates(tree) if found and (own / found).is_file()]
    return TemplateProblem(read[0] if read else "", 0, f"{what}; {OURS}/{name}, line {line}, reads it")
