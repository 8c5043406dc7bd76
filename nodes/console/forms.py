"""Forms: the anti-forgery token, the key that makes a repetition harmless, and what follows.

A page takes its form as a ``ConsoleForm`` and hands the work to ``submit``, which records the act,
runs the work once and redirects (post, redirect, get).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from urllib.parse import urlsplit

from fastapi import Request, UploadFile
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile as StarletteUpload
from starlette.responses import RedirectResponse

from chain.core.canonical import dumps
from chain.core.errors import BadInput, Forbidden, QiaolianError, Unauthorised
from nodes.console.access import get_context, record
from nodes.console.accounts.model import Visit
from nodes.console.acts.model import Act
from nodes.console.acts.service import BEGUN
from nodes.console.approvals import service as approvals
from nodes.console.submissions import service as submissions

CSRF, FORM_KEY = "csrf", "form_key"
_PART_BYTES = 1 << 20
PROPOSED = "proposed"
"""Outcome of an act that waits for a second person."""


class ConsoleForm(BaseModel):
    """What every form carries."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)
    csrf: str
    form_key: str = ""


class FileForm(ConsoleForm):
    """A file from the person's machine."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    file: UploadFile


def file_name(file: UploadFile) -> str:
    """The name of an uploaded file; ``file_missing``."""
    if not file.filename:
        raise BadInput("file_missing", "No file was chosen.", hint="Choose a file first.")
    return file.filename


async def check_csrf(request: Request) -> None:
    """Refuse a form that was not made for this browser; in front of every page of the console.

    Raises:
        Forbidden: ``csrf_refused``; Unauthorised: ``login_needed`` when the session ended while the
            page was open.
    """
    if request.method in ("GET", "HEAD"):
        return
    if request.state.session_ended:
        raise Unauthorised("login_needed", "The session has ended.", hint="Log in.")
    sent = (await request.form()).get(CSRF)
    expected: str = request.state.csrf
    if not isinstance(sent, str) or not hmac.compare_digest(sent.encode(), expected.encode()):
        raise Forbidden(
            "csrf_refused",
            "The form was not made for this session; nothing was done.",
            hint="Load the page again and send the form from there.",
        )


async def submit(
    request: Request, visit: Visit, act: Act, work: Callable[[str], str], *, action: str = ""
) -> RedirectResponse:
    """Record the act, do the work once, and redirect to where it leads.

    Args:
        work: takes the form's key, which services use as idempotency key; returns the path to go
            to. It runs in a thread.
        action: a name such as ``grant.approve``. Where ``console.two_persons`` has it, the first
            person's form is a proposal, and another person's form does the work.

    Raises:
        QiaolianError: what the work raises, recorded as the act's outcome; Forbidden:
            ``second_person_needed``; and as ``submissions.begin``.
    """
    context, form = get_context(request), await request.form()
    form_key = str(form.get(FORM_KEY, ""))
    content = await _content(request)
    account = visit.account.id

    def run() -> str:
        before = submissions.begin(context, account, form_key, content)
        if before is not None:
            return before
        try:
            location = _carry_out(request, visit, act, lambda: work(form_key), action)
        except QiaolianError:
            submissions.cancel(context, account, form_key)
            raise
        submissions.finish(context, account, form_key, location)
        return location

    return see_other(await run_in_threadpool(run))


def _carry_out(
    request: Request, visit: Visit, act: Act, work: Callable[[], str], action: str
) -> str:
    """Record the act and do the work, or propose it where two persons are needed."""
    context, settings = get_context(request), request.app.state.settings
    proposed = None
    if action and action in settings.two_persons:
        proposed = approvals.find(context, action, act.subject)
        page = _sending_page(request)
        if not approvals.propose_or_confirm(
            context, visit.account.id, action=action, subject=act.subject, page=page
        ):
            record(request, visit, act, outcome=PROPOSED)
            return "/approvals"
    record(request, visit, act, outcome=BEGUN)
    try:
        location = work()
    except QiaolianError as error:
        record(request, visit, act, outcome=error.code)
        if proposed is not None:
            approvals.restore(context, proposed)
        raise
    record(request, visit, act)
    return location


def _sending_page(request: Request) -> str:
    """The page whose form this is, for the second person to open."""
    sent_from = urlsplit(request.headers.get("referer", ""))
    return local_path(sent_from.path + (f"?{sent_from.query}" if sent_from.query else ""))


def see_other(path: str) -> RedirectResponse:
    """A redirect after a form."""
    return RedirectResponse(path, status_code=303)


def local_path(path: str) -> str:
    """A path of this console, from a request; ``/`` for anything that could lead elsewhere."""
    safe = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if safe and "\\" not in path else "/"


async def _content(request: Request) -> bytes:
    """A digest of a form's path and fields, without the token of the browser."""
    fields: list[list[str]] = []
    for name, value in (await request.form()).multi_items():
        if name == CSRF:
            continue
        if isinstance(value, StarletteUpload):
            value = await _digest(value)
        fields.append([name, value])
    return hashlib.sha256(dumps([request.url.path, sorted(fields)])).digest()


async def _digest(file: StarletteUpload) -> str:
    """SHA-256 of an uploaded file in hex, read in parts."""
    digest = hashlib.sha256()
    while part := await file.read(_PART_BYTES):
        digest.update(part)
    await file.seek(0)
    return digest.hexdigest()
