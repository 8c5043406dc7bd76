"""Log-in, log-out, a person's own account, and the administration of accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import segno
from fastapi import APIRouter, Depends, Form, Request
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from chain.core.errors import QiaolianError
from nodes import problems
from nodes.console.access import (
    get_context,
    get_visit,
    record,
    require,
    require_person,
)
from nodes.console.accounts import second_factor, service
from nodes.console.accounts.model import NewSession, PersonRole, Visit
from nodes.console.accounts.views import ROLE_LABELS, STATE_LABELS
from nodes.console.acts import service as acts
from nodes.console.acts.model import Act, ActKind, Actor
from nodes.console.errors import error_view
from nodes.console.forms import ConsoleForm, local_path, see_other, submit
from nodes.console.gate import cookie
from nodes.console.i18n import N_
from nodes.console.navigation import Entry
from nodes.console.paging import console_page
from nodes.console.rendering import render
from nodes.console.subjects import service as subjects
from registry.pages import PageRequest

if TYPE_CHECKING:
    from nodes.console.accounts.openid import OpenIdProvider

router = APIRouter()
NAVIGATION = (Entry("/accounts", N_("People"), (PersonRole.ADMINISTRATOR,)),)

require_administrator = require(PersonRole.ADMINISTRATOR)


class LoginForm(ConsoleForm):
    """Name and password, and the page to go to."""

    login: str
    password: str
    target: str = "/"


class PasswordForm(ConsoleForm):
    """A new password, typed twice."""

    password: str
    repeated: str
    current: str = ""


class CodeForm(ConsoleForm):
    """A code of the second factor; with a secret where one is enrolled."""

    code: str
    secret: str = ""


class InviteForm(ConsoleForm):
    """A new person."""

    login: str
    name: str
    roles: tuple[PersonRole, ...] = ()


class RolesForm(ConsoleForm):
    """A person's roles."""

    roles: tuple[PersonRole, ...] = ()


def client_address(request: Request) -> str:
    """The address the request came from."""
    return "" if request.client is None else request.client.host


@router.get("/login")
def login_page(request: Request, next: str = "/", expired: str = "") -> Response:
    visit = get_visit(request)
    if visit is not None and visit.verified:
        return see_other(local_path(next))
    answer = render(
        request,
        "accounts/login.html",
        wanted=local_path(next),
        expired=bool(expired),
        error=None,
        openid=request.app.state.settings.openid is not None,
    )
    clear_ended_session(request, answer)
    return answer


@router.post("/login")
def log_in(request: Request, form: Annotated[LoginForm, Form()]) -> Response:
    context = get_context(request)
    try:
        opened = service.log_in(
            context, login=form.login, password=form.password, address=client_address(request)
        )
    except QiaolianError as error:
        return _login_refused(request, form, error)
    end_former(request)
    _record_login(request, opened)
    answer = see_other("/login/code" if opened.needs_second_factor else local_path(form.target))
    set_session(request, answer, opened.token)
    return answer


@router.get("/login/openid")
def begin_openid(request: Request, next: str = "/") -> Response:
    provider = _provider(request)
    url, pending = provider.begin(
        get_context(request), redirect_uri=_callback(request), target=local_path(next)
    )
    answer = see_other(url)
    _set_pending(request, answer, pending, seconds=provider.LOGIN_SECONDS)
    return answer


@router.get("/login/openid/callback")
def finish_openid(request: Request, state: str = "", code: str = "", error: str = "") -> Response:
    context, provider = get_context(request), _provider(request)
    pending = request.cookies.get(request.state.cookies.openid, "")
    person, target = provider.finish(
        context, cookie=pending, state=state, code=code, redirect_uri=_callback(request)
    )
    roles = request.app.state.settings.openid.roles
    opened = service.log_in_identified(
        context,
        issuer=person.issuer,
        subject=person.subject,
        username=person.username,
        name=person.name,
        roles=[PersonRole(role) for group, role in roles.items() if group in person.groups],
    )
    end_former(request)
    _record_login(request, opened)
    answer = see_other("/login/code" if opened.needs_second_factor else target)
    _set_pending(request, answer, "", seconds=0)
    set_session(request, answer, opened.token)
    return answer


@router.get("/login/code")
def code_page(request: Request) -> Response:
    visit = get_visit(request)
    if visit is None or visit.verified:
        return see_other("/" if visit else "/login")
    return render(request, "accounts/code.html", error=None)


@router.post("/login/code")
def show_code(request: Request, form: Annotated[CodeForm, Form()]) -> Response:
    visit = get_visit(request)
    if visit is None:
        return see_other("/login")
    try:
        second_factor.verify(
            get_context(request), visit, form.code, address=client_address(request)
        )
    except QiaolianError as error:
        record(request, visit, Act(ActKind.LOG_IN_REFUSED, "session"), outcome=error.code)
        view = error_view(error, request.state.language)
        return render(request, "accounts/code.html", status=error.status, error=view)
    return see_other("/")


@router.post("/logout")
def log_out(request: Request, form: Annotated[ConsoleForm, Form()]) -> Response:
    visit = get_visit(request)
    if visit is not None:
        record(request, visit, Act(ActKind.LOG_OUT, "session"))
        _end(request, visit)
    answer = see_other("/my/login" if visit is not None and visit.subject else "/login")
    set_session(request, answer, "", seconds=0)
    return answer


@router.get("/invitations/{token}")
def invitation_page(request: Request, token: str, next: str = "/") -> Response:
    if request.app.state.settings.links_log_in:
        opened = service.follow_link(get_context(request), token)
        return _logged_in(request, opened, local_path(next))
    person = service.invited(get_context(request), token)
    return render(request, "accounts/invitation.html", person=person, error=None)


@router.post("/invitations/{token}")
def accept_invitation(
    request: Request, token: str, form: Annotated[PasswordForm, Form()]
) -> Response:
    context = get_context(request)
    person = service.invited(context, token)
    try:
        service.require_repeated(form.password, form.repeated)
        service.accept_invitation(context, token, form.password)
    except QiaolianError as error:
        view = error_view(error, request.state.language)
        return render(
            request, "accounts/invitation.html", status=error.status, person=person, error=view
        )
    return _logged_in(request, service.open_session(context, person.id))


def _logged_in(request: Request, opened: NewSession, target: str = "/") -> Response:
    end_former(request)
    _record_login(request, opened)
    answer = see_other("/login/code" if opened.needs_second_factor else target)
    set_session(request, answer, opened.token)
    return answer


@router.get("/account")
def own_account(request: Request, visit: Annotated[Visit, Depends(require_person)]) -> Response:
    return render(request, "accounts/own.html", error=None, role_labels=ROLE_LABELS)


@router.post("/account/password")
def change_password(
    request: Request,
    form: Annotated[PasswordForm, Form()],
    visit: Annotated[Visit, Depends(require_person)],
) -> Response:
    record(request, visit, Act(ActKind.CHANGE, "account", visit.account.id))
    try:
        service.require_repeated(form.password, form.repeated)
        service.change_password(
            get_context(request), visit.account.id, current=form.current, new=form.password
        )
    except QiaolianError as error:
        view = error_view(error, request.state.language)
        return render(
            request, "accounts/own.html", status=error.status, error=view, role_labels=ROLE_LABELS
        )
    answer = see_other("/login")
    set_session(request, answer, "", seconds=0)
    return answer


@router.get("/account/second-factor")
def second_factor_page(
    request: Request, visit: Annotated[Visit, Depends(require_person)]
) -> Response:
    return _enrolment(request, visit, second_factor.new_secret())


@router.post("/account/second-factor")
def enrol(
    request: Request,
    form: Annotated[CodeForm, Form()],
    visit: Annotated[Visit, Depends(require_person)],
) -> Response:
    """The recovery codes are shown once, in this answer."""
    second_factor.require_secret(form.secret)
    record(request, visit, Act(ActKind.CHANGE, "account", visit.account.id))
    try:
        codes = second_factor.enrol(get_context(request), visit, form.secret, form.code)
    except QiaolianError as error:
        return _enrolment(request, visit, form.secret, error)
    return render(request, "accounts/recovery.html", codes=codes)


@router.post("/account/second-factor/remove")
async def remove_second_factor(
    request: Request,
    form: Annotated[CodeForm, Form()],
    visit: Annotated[Visit, Depends(require_person)],
) -> Response:
    address = client_address(request)

    def work(_key: str) -> str:
        second_factor.remove(get_context(request), visit, form.code, address=address)
        return "/account"

    return await submit(request, visit, Act(ActKind.CHANGE, "account", visit.account.id), work)


@router.get("/accounts")
def accounts(
    request: Request,
    page: Annotated[PageRequest, Depends(console_page)],
    visit: Annotated[Visit, Depends(require_administrator)],
) -> Response:
    record(request, visit, Act(ActKind.VIEW, "accounts"))
    found = service.page(get_context(request), page)
    return render(
        request,
        "accounts/list.html",
        people=found.rows,
        next=found.next,
        role_labels=ROLE_LABELS,
        state_labels=STATE_LABELS,
    )


@router.post("/accounts")
def invite(
    request: Request,
    form: Annotated[InviteForm, Form()],
    visit: Annotated[Visit, Depends(require_administrator)],
) -> Response:
    """The link is shown once, in this answer; it is stored nowhere."""
    account_id = service.new_account_id()
    record(request, visit, Act(ActKind.CHANGE, "account", account_id))
    token = service.invite(
        get_context(request),
        login=form.login,
        name=form.name,
        roles=form.roles,
        account_id=account_id,
    )
    return _show_link(request, form.login, token)


@router.get("/accounts/{account_id}")
def account(
    request: Request, account_id: str, visit: Annotated[Visit, Depends(require_administrator)]
) -> Response:
    person = service.account(get_context(request), account_id)
    record(request, visit, Act(ActKind.VIEW, "account", account_id))
    return render(
        request,
        "accounts/detail.html",
        person=person,
        role_labels=ROLE_LABELS,
        state_labels=STATE_LABELS,
    )


@router.post("/accounts/{account_id}/roles")
async def set_roles(
    request: Request,
    account_id: str,
    form: Annotated[RolesForm, Form()],
    visit: Annotated[Visit, Depends(require_administrator)],
) -> Response:
    def work(_key: str) -> str:
        service.set_roles(get_context(request), account_id, form.roles)
        return f"/accounts/{account_id}"

    act = Act(ActKind.CHANGE, "account", account_id)
    return await submit(request, visit, act, work, action="account.roles")


@router.post("/accounts/{account_id}/disable")
async def disable(
    request: Request,
    account_id: str,
    form: Annotated[ConsoleForm, Form()],
    visit: Annotated[Visit, Depends(require_administrator)],
) -> Response:
    def work(_key: str) -> str:
        service.disable(get_context(request), account_id)
        return f"/accounts/{account_id}"

    act = Act(ActKind.CHANGE, "account", account_id)
    return await submit(request, visit, act, work, action="account.disable")


@router.post("/accounts/{account_id}/reset")
def reset(
    request: Request,
    account_id: str,
    form: Annotated[ConsoleForm, Form()],
    visit: Annotated[Visit, Depends(require_administrator)],
) -> Response:
    record(request, visit, Act(ActKind.CHANGE, "account", account_id))
    person = service.account(get_context(request), account_id)
    return _show_link(request, person.login, service.reset(get_context(request), account_id))


def _provider(request: Request) -> OpenIdProvider:
    """The configured provider; ``path_unknown`` without one."""
    # Imported by a console that uses it: the packages take several megabytes.
    from nodes.console.accounts.openid import OpenIdProvider

    config, settings = request.app.state.config, request.app.state.settings
    if settings.openid is None:
        raise problems.of_status(404, "")
    made: OpenIdProvider = get_context(request).services.get(
        OpenIdProvider,
        lambda: OpenIdProvider(settings.openid, config.path(settings.openid.client_secret_file)),
    )
    return made


def _callback(request: Request) -> str:
    """Where the provider sends the browser back to."""
    scheme = "https" if request.state.secure else "http"
    return f"{scheme}://{request.url.netloc}/login/openid/callback"


def _set_pending(request: Request, answer: Response, value: str, *, seconds: int) -> None:
    name, secure = request.state.cookies.openid, request.state.secure
    answer.headers.append("set-cookie", cookie(name, value, secure=secure, seconds=seconds))


def _enrolment(
    request: Request, visit: Visit, secret: str, error: QiaolianError | None = None
) -> HTMLResponse:
    uri = second_factor.provisioning_uri(
        secret, login=visit.account.login, organisation=request.app.state.config.name
    )
    return render(
        request,
        "accounts/second_factor.html",
        status=200 if error is None else error.status,
        secret=secret,
        picture=Markup(segno.make(uri).svg_inline(omitsize=True)),  # noqa: S704 made of squares alone
        error=None if error is None else error_view(error, request.state.language),
    )


def _show_link(request: Request, login: str, token: str) -> HTMLResponse:
    link = f"{request.url.scheme}://{request.url.netloc}/invitations/{token}"
    return render(request, "accounts/link.html", login=login, link=link)


def _login_refused(request: Request, form: LoginForm, error: QiaolianError) -> HTMLResponse:
    stranger = Actor("", "", "", f"POST /login from {client_address(request)}")
    acts.record(
        get_context(request), stranger, Act(ActKind.LOG_IN_REFUSED, "session"), outcome=error.code
    )
    page = render(
        request,
        "accounts/login.html",
        status=error.status,
        wanted=local_path(form.target),
        expired=False,
        error=error_view(error, request.state.language),
        openid=request.app.state.settings.openid is not None,
    )
    return page


def end_former(request: Request) -> None:
    """A browser's former session ends when a new one begins."""
    former = get_visit(request)
    if former is not None:
        _end(request, former)


def _end(request: Request, visit: Visit) -> None:
    """End a session, of a person of the organisation or of a subject."""
    if visit.subject is None:
        service.log_out(get_context(request), visit)
    else:
        subjects.log_out(get_context(request), visit)


def _record_login(request: Request, opened: NewSession) -> None:
    person = opened.account
    actor = Actor(person.id, person.login, person.name, f"{request.method} /login")
    acts.record(get_context(request), actor, Act(ActKind.LOG_IN, "session"))


def clear_ended_session(request: Request, answer: Response) -> None:
    """Take the cookie of a session that has ended from the browser, or it could send no form."""
    if request.state.session_ended:
        set_session(request, answer, "", seconds=0)


def set_session(
    request: Request, answer: Response, token: str, *, seconds: int | None = None
) -> None:
    """Put a session's token into the browser's cookie."""
    name, secure = request.state.cookies.session, request.state.secure
    answer.headers.append("set-cookie", cookie(name, token, secure=secure, seconds=seconds))
