"""Giving a consent at the department that certified the key: a form, then two signatures. The draft
stays in the person's browser between the steps.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from anyio import from_thread
from fastapi import APIRouter, Depends, Form, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import ConfigDict
from starlette.datastructures import UploadFile
from starlette.responses import Response

from chain.core import canonical
from chain.core.errors import BadInput, Malformed
from chain.ethereum.eip712 import Statement
from chain.statements.credit import ConsentRegistration
from nodes.console.access import get_context, record, require_subject
from nodes.console.accounts.model import Visit
from nodes.console.acts.model import Act, ActKind
from nodes.console.forms import ConsoleForm, submit
from nodes.console.i18n import N_
from nodes.console.navigation import Entry
from nodes.console.rendering import render
from nodes.console.signing.views import SignedForm, sign_request, signature_of, signed_statement
from nodes.console.subjects.views import bank_choices, consent_about, purpose_choices
from nodes.console.subjects.visits import code_of, key_of
from registry.access import hex_bytes
from registry.credit import consents, giving

router = APIRouter()
NAVIGATION: tuple[Entry, ...] = ()
MAX_FILE = 65_536
Subject = Annotated[Visit, Depends(require_subject)]


class GiveForm(ConsoleForm):
    """To whom a consent is to be given, and the key's request file."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    bank: str
    purpose: str
    days: int
    request: UploadFile


class DraftForm(SignedForm):
    """A signed step of a consent, with the draft."""

    draft: str


class RegistrationForm(DraftForm):
    """The last step: the registration's signature beside the consent's."""

    consent_signature: str


@router.get("/my/consents/new")
def consent_form(request: Request, visit: Subject) -> Response:
    code_of(visit)
    record(request, visit, Act(ActKind.VIEW, "own-consents"))
    return render(
        request,
        "subjects/give.html",
        banks=bank_choices(get_context(request)),
        purposes=purpose_choices(request.state.language),
        max_days=giving.MAX_DAYS,
        may_give=key_of(visit).purpose == "consent",
    )


@router.post("/my/consents/new")
async def draft_consent(
    request: Request,
    form: Annotated[GiveForm, Form(media_type="multipart/form-data")],
    visit: Subject,
) -> Response:
    drafted = giving.draft(
        key_of(visit),
        await _file(form.request),
        bank=form.bank,
        purpose=form.purpose,
        days=form.days,
        now=get_context(request).now(),
    )
    return await run_in_threadpool(
        _step,
        request,
        visit,
        drafted,
        drafted.consent,
        action="/my/consents/new/registration",
        label=N_("Sign the consent"),
        hidden={"draft": json.dumps(drafted.to_json(), ensure_ascii=False)},
    )


@router.post("/my/consents/new/registration")
async def consent_signed(
    request: Request,
    form: Annotated[DraftForm, Form(media_type="multipart/form-data")],
    visit: Subject,
) -> Response:
    context, drafted = get_context(request), _draft(form)
    signature = await signature_of(context, form, drafted.consent)
    package = drafted.signed(key_of(visit), signature)
    await run_in_threadpool(consents.check_consent, context, package.to_json())
    return await run_in_threadpool(
        _step,
        request,
        visit,
        drafted,
        drafted.registration(now=context.now()),
        action="/my/consents/new/given",
        label=N_("Put the consent on the chain"),
        hidden={"draft": form.draft, "consent_signature": "0x" + signature.hex()},
    )


@router.post("/my/consents/new/given")
async def give_consent(
    request: Request,
    form: Annotated[RegistrationForm, Form(media_type="multipart/form-data")],
    visit: Subject,
) -> Response:
    context, drafted = get_context(request), _draft(form)
    registration = signed_statement(form, ConsentRegistration)
    signature = await signature_of(context, form, registration)
    package = drafted.signed(key_of(visit), hex_bytes(form.consent_signature, length=65))

    def work(_key: str) -> str:
        given = from_thread.run(giving.give, context, package, registration, signature)
        return f"/my/consents/0x{given.hex()}"

    return await submit(request, visit, Act(ActKind.APPROVE, "own-consent"), work)


@router.get("/my/consents/{consent_id}")
def consent_status(request: Request, consent_id: str, visit: Subject) -> Response:
    status = consents.consent_status(get_context(request), hex_bytes(consent_id, length=32))
    record(request, visit, Act(ActKind.VIEW, "own-consent", consent_id))
    return render(
        request,
        "subjects/consent.html",
        consent=consent_id,
        recorded_at=status.recorded_at or None,
        withdrawn_at=status.withdrawn_at or None,
    )


def _step(
    request: Request,
    visit: Visit,
    drafted: giving.ConsentDraft,
    statement: Statement,
    *,
    action: str,
    label: str,
    hidden: dict[str, str],
) -> Response:
    """The page of one signature."""
    context = get_context(request)
    record(request, visit, Act(ActKind.VIEW, "own-consents"))
    about = consent_about(context, drafted.consent, request.state.language)
    return render(
        request,
        "subjects/sign.html",
        view=sign_request(context, statement, about=about),
        action=action,
        label=label,
        back="/my/consents/new",
        back_label=N_("Give a consent"),
        hidden=hidden,
    )


def _draft(form: DraftForm) -> giving.ConsentDraft:
    try:
        value = canonical.loads(form.draft.encode(), max_bytes=MAX_FILE)
    except Malformed as error:
        raise BadInput("consent_malformed", "The draft of the consent is damaged.") from error
    return giving.ConsentDraft.from_json(value)


async def _file(upload: UploadFile) -> Any:
    try:
        return canonical.loads(await upload.read(MAX_FILE + 1), max_bytes=MAX_FILE)
    except (Malformed, BadInput) as error:
        raise BadInput("request_malformed", "The chosen file is not a key's request.") from error
