"""A salt of another length than 32 bytes is taken nowhere: HMAC pads it with zeros, so that one
commitment would have several.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from chain.core.canonical import dumps
from chain.core.errors import BadInput, QiaolianError
from chain.keys.files import Secp256k1Signer
from chain.statements.commitment import commit, opens
from chain.statements.credit import Consent, CreditDispute
from chain.statements.examples import example
from chain.statements.grants import GrantTerms
from chain.statements.members import SubjectKeyCertificate
from chain.statements.property import DealStep, DealTerms, TitleStatement
from registry.access import Principal
from registry.credit import api as credit_api
from registry.credit import consent_api
from registry.credit.model import ConsentPackage
from registry.credit.signing import subject_of
from registry.grants import api as grants_api
from registry.grants import signing as grant_signing
from registry.property import peers
from registry.property import signing as deal_signing
from registry.property.model import CertifiedKey

SALT = b"\x5a" * 31 + b"\0"
PADDED = {31: SALT[:31], 33: SALT + b"\0", 40: SALT + bytes(8)}
"""Salts of other lengths that give the same HMAC."""
SIGNATURE = "0x" + "11" * 64 + "1b"
IDENTITY = {"code": "92440700MA4W000007"}
KEY = Secp256k1Signer(b"\x66" * 32)
DOMAIN = "qiaolian.test.v1"

PACKAGE = {
    "consent": example(Consent).to_json(),
    "signature": SIGNATURE,
    "salt": "0x" + SALT.hex(),
    "certificate": example(SubjectKeyCertificate).to_json(),
    "certificateSignature": SIGNATURE,
    "identity": IDENTITY,
    "identitySalt": "0x" + SALT.hex(),
}
REQUEST = {"identity": IDENTITY, "identitySalt": "0x" + SALT.hex(), "key": KEY.address}
CERTIFIED = CertifiedKey.from_json(
    {"certificate": example(SubjectKeyCertificate).to_json(), "signature": SIGNATURE}
).to_json()
DEAL = {
    "terms": example(DealTerms).to_json(),
    "content": {},
    "contentSalt": "0x" + SALT.hex(),
    "title": example(TitleStatement).to_json(),
    "titleSignature": SIGNATURE,
    "certificates": [CERTIFIED, CERTIFIED],
}
STEP = {
    "statement": example(DealStep).to_json(),
    "signature": SIGNATURE,
    "record": {},
    "salt": "0x" + SALT.hex(),
}
GRANT = {
    "grantId": "0x" + example(GrantTerms).struct_hash().hex(),
    "terms": example(GrantTerms).to_json(),
    "scope": {},
    "scopeSalt": "0x" + SALT.hex(),
}
DRAWN = {"dealId": "0x" + example(DealTerms).struct_hash().hex(), **DEAL}

Read = Callable[[dict[str, Any]], object]


def refusal(read: Read, value: dict[str, Any]) -> str:
    """The code with which something is refused; empty where it is read."""
    try:
        read(value)
    except QiaolianError as error:
        return error.code
    return ""


@pytest.mark.parametrize("length", PADDED)
def test_a_salt_that_hmac_pads_to_the_right_one_opens_nothing(length: int) -> None:
    record, salt = {"area": 89}, PADDED[length]
    commitment = commit(SALT, DOMAIN, record)
    alike = hmac.digest(salt, DOMAIN.encode() + b"\0" + dumps(record), hashlib.sha256)
    assert alike == commitment
    assert opens(commitment, salt=SALT, domain=DOMAIN, record=record)
    assert not opens(commitment, salt=salt, domain=DOMAIN, record=record)
    with pytest.raises(BadInput) as refused:
        commit(salt, DOMAIN, record)
    assert refused.value.code == "salt_malformed"


@pytest.mark.parametrize("length", PADDED)
@pytest.mark.parametrize(
    ("read", "value", "name", "code"),
    [
        (ConsentPackage.from_json, PACKAGE, "salt", "consent_malformed"),
        (ConsentPackage.from_json, PACKAGE, "identitySalt", "consent_malformed"),
        (lambda value: subject_of(value, KEY), REQUEST, "identitySalt", "request_malformed"),
        (grant_signing.reviewed, GRANT, "scopeSalt", "grant_malformed"),
        (deal_signing.reviewed, DRAWN, "contentSalt", "deal_malformed"),
        (peers.read_deal, DEAL, "contentSalt", "deal_malformed"),
        (peers.read_step, STEP, "salt", "step_malformed"),
    ],
    ids=["consent", "identity", "request", "grant", "deal to sign", "deal", "step"],
)
def test_what_is_handed_over_with_a_salt_of_another_length_is_refused(
    read: Read, value: dict[str, Any], name: str, code: str, length: int
) -> None:
    assert refusal(read, value) != code, "the right salt is read"
    assert refusal(read, {**value, name: "0x" + PADDED[length].hex()}) == code


def answer(path: str, body: dict[str, Any]) -> str:
    """The code with which a node's interface refuses a body before it looks at anything of the
    node's.
    """
    app = FastAPI()
    for router in (consent_api.router, credit_api.router, grants_api.router):
        app.include_router(router)
    app.state.context = None

    @app.middleware("http")
    async def caller(request: Request, follow: Any) -> Any:
        kind = "member" if "/peer/" in request.url.path else "local"
        request.state.principal = Principal(kind, "11440700QL0000001A", frozenset({"clerk"}))
        return await follow(request)

    @app.exception_handler(QiaolianError)
    async def refused(_request: Request, error: QiaolianError) -> JSONResponse:
        return JSONResponse({"code": error.code, **error.context}, status_code=400)

    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
            return await client.post(path, json=body)

    found = asyncio.run(post()).json()
    return f"{found['code']} {found.get('field', '')}"


@pytest.mark.parametrize("length", PADDED)
@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (
            "/v1/certificates",
            {
                "identity": IDENTITY,
                "identitySalt": "",
                "key": KEY.address,
                "purpose": "consent",
                "notAfter": 2**40,
            },
            "identitySalt",
        ),
        (
            "/v1/certificates/shown",
            {
                "certificate": example(SubjectKeyCertificate).to_json(),
                "signature": SIGNATURE,
                "identity": IDENTITY,
                "identitySalt": "",
            },
            "identitySalt",
        ),
        (
            "/v1/disputes",
            {
                "dispute": example(CreditDispute).to_json(),
                "signature": SIGNATURE,
                "claim": {},
                "claimSalt": "",
                "subject": IDENTITY["code"],
            },
            "claimSalt",
        ),
        (
            "/v1/peer/grants",
            {"terms": example(GrantTerms).to_json(), "scope": {"columns": []}, "salt": ""},
            "salt",
        ),
    ],
    ids=["certify", "show a certificate", "dispute", "ask for a grant"],
)
def test_a_nodes_interface_takes_no_salt_of_another_length(
    path: str, body: dict[str, Any], field: str, length: int
) -> None:
    wrong = {**body, field: "0x" + PADDED[length].hex()}
    named = "id" if path == "/v1/certificates" else field
    assert answer(path, wrong) == f"field_malformed {named}"
