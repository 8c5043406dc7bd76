"""View models of a statement that a person signs, and of the signature file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ConfigDict
from starlette.datastructures import UploadFile

from chain.context import Context
from chain.core import canonical
from chain.core.errors import BadInput, BadSignature, Malformed
from chain.ethereum.eip712 import Statement
from chain.statements.signing_files import MAX_BYTES, SignatureFile, SignRequest
from chain.statements.typed_data import typed_data
from nodes.console.forms import ConsoleForm

S = TypeVar("S", bound=Statement)


@dataclass(frozen=True, slots=True)
class SigningView:
    """A statement to be signed. ``about`` pairs marked labels with values."""

    kind: str
    fields: list[tuple[str, str]]
    about: list[tuple[str, str]]
    statement: str
    """Its JSON, which the form sends back with the signature."""
    request: str
    """The file for ``qiaolian sign``, as text."""
    typed_data: str
    """JSON for ``eth_signTypedData_v4``."""


class SignedForm(ConsoleForm):
    """A form of the signing panel. Read it with ``signed_statement`` and ``signature_of``."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    statement: str
    signature: str = ""
    signature_file: UploadFile | None = None


def sign_request(
    context: Context,
    statement: Statement,
    *,
    about: Mapping[str, str],
    described: Mapping[str, Any] | None = None,
) -> SigningView:
    """The panel's view of a statement.

    Args:
        about: what the page says of it, by label (marked with ``N_``); not signed.
        described: the object as the node's API describes it; ``qiaolian sign`` checks a grant's.
    """
    statement.require_json_safe()
    domain = context.domain(statement.contract)
    request = SignRequest(statement, domain, dict(about), dict(described or {}))
    content = statement.to_json()
    return SigningView(
        kind=type(statement).__name__,
        fields=[(name, _shown(value)) for name, value in content.items()],
        about=list(about.items()),
        statement=json.dumps(content, ensure_ascii=False),
        request=request.to_bytes().decode(),
        typed_data=json.dumps(typed_data(statement, domain)),
    )


def signed_statement(form: SignedForm, kind: type[S]) -> S:
    """The statement that the form sends back.

    Raises:
        BadInput: ``statement_malformed``, ``wrong_version``.
    """
    try:
        value = canonical.loads(form.statement.encode(), max_bytes=MAX_BYTES)
    except Malformed as error:
        raise BadInput("statement_malformed", "The form's statement is damaged.") from error
    statement = kind.from_json(value)
    statement.require_known_version()
    return statement


async def signature_of(context: Context, form: SignedForm, statement: Statement) -> bytes:
    """The signature in the form: 65 bytes, from the wallet or the uploaded file.

    Raises:
        BadInput: ``signature_missing``, ``signature_file_malformed``,
            ``signature_of_another_statement``; BadSignature: ``signature_malformed``.
    """
    if form.signature:
        return _wallet_signature(form.signature)
    if form.signature_file is None or not form.signature_file.filename:
        raise BadInput(
            "signature_missing",
            "The form has no signature.",
            hint="Choose the file that `qiaolian sign` wrote, or sign with a wallet.",
        )
    read = SignatureFile.from_bytes(await form.signature_file.read(MAX_BYTES))
    if read.digest != statement.digest(context.domain(statement.contract)):
        raise BadInput(
            "signature_of_another_statement",
            "The file holds a signature of another statement.",
            hint="Sign the request that this page offers, then choose its signature.",
        )
    return read.signature


def request_file(text: str) -> bytes:
    """A request's bytes, if the text is one."""
    return SignRequest.from_bytes(text.encode()).to_bytes()


def _wallet_signature(text: str) -> bytes:
    """A wallet's 65 bytes; some wallets end a signature in 0 or 1 instead of 27 or 28."""
    try:
        signature = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        signature = b""
    if len(signature) != 65:
        raise BadSignature("signature_malformed", "A signature is not 65 bytes in hexadecimal.")
    return signature[:64] + bytes([signature[64] + 27]) if signature[64] in (0, 1) else signature


def _shown(value: Any) -> str:
    if isinstance(value, str | int) and not isinstance(value, bool):
        return str(value)
    return json.dumps(value, ensure_ascii=False)
