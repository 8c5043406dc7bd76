"""What a person signs outside of the node: the panel, the command, the wallet."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import PlainTextResponse, Response

from chain.core.crypto import recover
from chain.keys.files import create_person_key
from chain.statements.examples import example
from chain.statements.grants import GrantDecision, GrantRevocation, GrantTerms
from chain.statements.signing_files import SignatureFile, SignRequest
from chain.statements.trade import DepositConfirmation
from nodes.cli.main import main
from nodes.console.access import get_context, require_person
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.rendering import render
from nodes.console.signing.views import SignedForm, sign_request, signature_of, signed_statement
from tests.support.console import ConsolePerson, TestConsole, running_console

REVOCATION = GrantRevocation(1, b"\x11" * 32, "title-disputed", 2_000_000_000)

router = APIRouter()


@router.get("/test/panel")
def panel(request: Request, visit: Annotated[Visit, Depends(require_person)]) -> Response:
    view = sign_request(get_context(request), REVOCATION, about={"Name": "<b>江门</b>"})
    return render(request, "signing/page.html", view=view, action="/test/panel", label="OK")


@router.post("/test/panel")
async def signed(
    request: Request,
    form: Annotated[SignedForm, Form(media_type="multipart/form-data")],
    visit: Annotated[Visit, Depends(require_person)],
) -> Response:
    context = get_context(request)
    statement = signed_statement(form, GrantRevocation)
    signature = await signature_of(context, form, statement)
    return PlainTextResponse(recover(statement.digest(context.domain("GrantRegistry")), signature))


@pytest.fixture
def console(tmp_path: Path) -> Iterator[TestConsole]:
    """A console with one page more, whose form is signed."""
    with running_console(tmp_path) as made:
        made.app.include_router(router)
        yield made


def downloaded(person: ConsolePerson, file: Path) -> dict[str, str]:
    """Save the request that the page offers; the fields of the page's form."""
    page = person.page("/test/panel")
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page))
    text = re.search(r'name="request" value="([^"]*)"', page)
    assert text
    answer = person.post(
        "/signing/request", {"csrf": fields["csrf"], "request": html.unescape(text[1])}
    )
    assert "attachment" in answer.headers["content-disposition"]
    file.write_bytes(answer.content)
    return {name: html.unescape(fields[name]) for name in ("csrf", "form_key", "statement")}


def upload(person: ConsolePerson, fields: dict[str, str], data: bytes) -> tuple[int, str]:
    answer = person.http.post(
        "/test/panel",
        data=fields,
        files={"signature_file": ("signature.json", data, "application/json")},
        headers={"origin": "http://127.0.0.1:8444", "accept-language": "en"},
    )
    return answer.status_code, answer.text


def test_an_uploaded_signature_is_of_the_pages_own_statement(
    console: TestConsole, tmp_path: Path
) -> None:
    key = create_person_key(tmp_path / "officer.json", None)
    person, file = console.person(PersonRole.CHIEF_DATA_OFFICER), tmp_path / "request.json"
    fields = downloaded(person, file)
    request = SignRequest.from_bytes(file.read_bytes())
    assert request.statement == REVOCATION
    assert request.domain == console.context.domain("GrantRegistry")
    digest = REVOCATION.digest(request.domain)
    good = SignatureFile(digest, key.sign_digest(digest))
    assert upload(person, fields, good.to_bytes()) == (200, key.address)
    status, text = upload(person, fields, replace(good, digest=bytes(32)).to_bytes())
    assert (status, "signature_of_another_statement" in text) == (422, True)
    for data in (b"", b"GIF89a", b"{}", b"[" * 1_000):
        status, text = upload(person, fields, data)
        assert (status, "signature_file_malformed" in text) == (422, True)


def test_a_wallets_signature_comes_in_the_form_itself(console: TestConsole, tmp_path: Path) -> None:
    key = create_person_key(tmp_path / "officer.json", None)
    person = console.person(PersonRole.CHIEF_DATA_OFFICER)
    fields = downloaded(person, tmp_path / "request.json")
    signature = key.sign_digest(REVOCATION.digest(console.context.domain("GrantRegistry")))
    zero_based = signature[:64] + bytes([signature[64] - 27])
    for given in (signature, zero_based):
        answer = person.post("/test/panel", {**fields, "signature": "0x" + given.hex()})
        assert answer.text == key.address
    for wrong in ("0x12", "zz", "0x" + "00" * 64):
        answer = person.post("/test/panel", {**fields, "signature": wrong})
        assert (answer.status_code, "signature_malformed" in answer.text) == (422, True)
    answer = person.post("/test/panel", fields)
    assert (answer.status_code, "signature_missing" in answer.text) == (422, True)


def test_a_text_on_the_panel_is_no_markup(console: TestConsole) -> None:
    page = console.person(PersonRole.CLERK).page("/test/panel")
    assert "<b>江门" not in page
    assert "&lt;b&gt;江门" in page


def test_the_command_signs_what_it_shows(
    console: TestConsole, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, file = tmp_path / "officer.json", tmp_path / "request.json"
    signer = create_person_key(key, None)
    statement = replace(example(DepositConfirmation), amount=12_345)
    request = SignRequest(statement, console.context.domain("TradeSettlement"), {"说明": "x"}, {})
    file.write_bytes(request.to_bytes())
    command = ["sign", str(file), "--key", str(key), "--yes"]
    assert main(command) == 0
    assert "12345" in capsys.readouterr().err
    written = SignatureFile.from_bytes((tmp_path / "request.signature.json").read_bytes())
    assert recover(statement.digest(request.domain), written.signature) == signer.address
    assert main(command) == 2
    assert "signature_exists" in capsys.readouterr().err


def test_the_command_signs_no_grant_that_differs_from_its_description(
    console: TestConsole, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, file = tmp_path / "officer.json", tmp_path / "request.json"
    create_person_key(key, None)
    domain = console.context.domain("GrantRegistry")
    terms = example(GrantTerms)
    described = {
        "grantId": "0x" + terms.struct_hash().hex(),
        "terms": terms.to_json(),
        "scope": None,
        "scopeSalt": None,
    }
    revocation = replace(REVOCATION, grant_id=terms.struct_hash())
    approval = GrantDecision(1, terms.struct_hash(), True, "", 2_000_000_000)
    other = {**described, "terms": {**terms.to_json(), "maxUses": 99}}
    cases = [
        (REVOCATION, {}, "grant_malformed"),
        (REVOCATION, described, "sign_request_differs"),
        (revocation, other, "grant_differs"),
        (approval, described, "grant_asset_not_shown"),
    ]
    for statement, shown, code in cases:
        file.write_bytes(SignRequest(statement, domain, {}, shown).to_bytes())
        assert main(["sign", str(file), "--key", str(key), "--yes"]) == 2
        assert code in capsys.readouterr().err
    file.write_bytes(SignRequest(revocation, domain, {}, described).to_bytes())
    assert main(["sign", str(file), "--key", str(key), "--yes"]) == 0
