"""Templates: one environment for all folders; it escapes everything and knows no undefined name."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, PrefixLoader, StrictUndefined
from starlette.responses import HTMLResponse

from nodes.console import assets_files, formatting, i18n
from nodes.console.accounts.model import Visit
from nodes.console.navigation import Entry
from nodes.console.submissions.service import new_key


def environment() -> Environment:
    """The console's templates: ``assets/list.html`` is ``assets/templates/list.html``."""
    folders = {
        path.parent.name: FileSystemLoader(path)
        for path in sorted(i18n.CONSOLE.glob("*/templates"))
    }
    made = Environment(
        loader=PrefixLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    made.filters.update(formatting.FILTERS)
    made.globals.update(asset=assets_files.versioned_path, form_key=new_key)
    made.install_gettext_callables(  # type: ignore[attr-defined]
        i18n.gettext, i18n.ngettext, newstyle=True
    )
    return made


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page in the language of the request.

    Args:
        values: the template's view models.

    Raises:
        ValueError: a value has the name of something that every page has.
    """
    app = request.app
    visit: Visit | None = getattr(request.state, "visit", None)
    language: str = request.state.language
    common = _common(request, visit, language)
    hidden = values.keys() & (common.keys() | app.state.templates.globals.keys())
    if hidden:
        raise ValueError(f"{template} cannot be given {sorted(hidden)}: every page has these names")
    with i18n.in_language(language):
        text = app.state.templates.get_template(template).render(values | common)
    return HTMLResponse(text, status_code=status)


def _common(request: Request, visit: Visit | None, language: str) -> dict[str, Any]:
    """What every page's frame shows."""
    config, context = request.app.state.config, request.app.state.context
    menu = _menu(request, visit) if visit is not None and visit.verified else []
    return {
        "path": request.url.path,
        "target": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        "organisation": config.name,
        "member": config.member,
        "visit": visit,
        "csrf": request.state.csrf,
        "language": language,
        "languages": i18n.LANGUAGES,
        "menu": menu,
        "may": partial(request.app.state.permissions.may, visit, context.roles),
        "height": context.projected_height,
        "blocks_behind": context.blocks_behind,
        "now": context.now(),
    }


def _menu(request: Request, visit: Visit) -> list[Entry]:
    """The pages for this person of the organisation, or for this subject's kind of key."""
    state = request.app.state
    entries: tuple[Entry, ...] = (
        state.subject_navigation if visit.subject is not None else state.navigation
    )
    return [entry for entry in entries if entry.shown_to(visit, state.context.roles)]
