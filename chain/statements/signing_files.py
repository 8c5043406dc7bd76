"""The files between a console and a person's own machine: a request for a signature, and the
signature.

A request carries the statement itself, so that the program on the person's machine shows and hashes
what it signs; ``about`` is what the node says of it and is not signed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Self

from chain.core import canonical
from chain.core.crypto import is_address
from chain.core.errors import BadInput, Malformed
from chain.ethereum.eip712 import Domain, Statement
from chain.statements.catalogue import STATEMENTS
from chain.statements.login import SubjectLogin

REQUEST_FORM, SIGNATURE_FORM = "qiaolian.sign-request.v1", "qiaolian.signature.v1"
MAX_BYTES = 262_144
SIGNED: dict[str, type[Statement]] = {**STATEMENTS, SubjectLogin.__name__: SubjectLogin}
"""What persons sign: the statements of the network, and a log-in, which is none of them."""


@dataclass(frozen=True, slots=True)
class SignRequest:
    """A statement to be signed, under which domain, and what the node says it is about."""

    statement: Statement
    domain: Domain
    about: dict[str, str]
    described: dict[str, Any]
    """The object as the node's API gives it, for the checks of ``qiaolian sign``; may be empty."""

    def to_bytes(self) -> bytes:
        """The file."""
        value = {
            "form": REQUEST_FORM,
            "type": type(self.statement).__name__,
            "chainId": self.domain.chain_id,
            "contract": self.domain.contract,
            "statement": self.statement.to_json(),
            "about": self.about,
            "described": self.described,
        }
        return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a file.

        Raises:
            BadInput: ``sign_request_malformed``, and ``statement_malformed`` or ``wrong_version``
                of the statement.
        """
        value = _object(data, "sign_request_malformed", "request for a signature")
        try:
            kind, chain, contract = value["type"], value["chainId"], value["contract"]
            about, described = value["about"], value["described"]
            if (
                value["form"] != REQUEST_FORM
                or kind not in SIGNED
                or type(chain) is not int
                or not is_address(contract)
                or not isinstance(about, dict)
                or not isinstance(described, dict)
            ):
                raise ValueError("form")
        except (KeyError, TypeError, ValueError) as error:
            raise _malformed("sign_request_malformed", "request for a signature") from error
        statement = SIGNED[kind].from_json(value["statement"])
        statement.require_known_version()
        shown = {str(name): str(text) for name, text in about.items()}
        return cls(statement, Domain(chain, contract), shown, described)


@dataclass(frozen=True, slots=True)
class SignatureFile:
    """A signature, and the digest it is over."""

    digest: bytes
    signature: bytes

    def to_bytes(self) -> bytes:
        """The file."""
        value = {
            "form": SIGNATURE_FORM,
            "digest": "0x" + self.digest.hex(),
            "signature": "0x" + self.signature.hex(),
        }
        return json.dumps(value, indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a file; ``signature_file_malformed``."""
        value = _object(data, "signature_file_malformed", "signature")
        try:
            digest, signature = (
                bytes.fromhex(value[name].removeprefix("0x")) for name in ("digest", "signature")
            )
            if value["form"] != SIGNATURE_FORM or (len(digest), len(signature)) != (32, 65):
                raise ValueError("form")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _malformed("signature_file_malformed", "signature") from error
        return cls(digest, signature)


def _object(data: bytes, code: str, what: str) -> dict[str, Any]:
    try:
        value = canonical.loads(data, max_bytes=MAX_BYTES)
    except (Malformed, BadInput) as error:
        raise _malformed(code, what) from error
    if not isinstance(value, dict):
        raise _malformed(code, what)
    return value


def _malformed(code: str, what: str) -> BadInput:
    return BadInput(
        code,
        f"The file is not a {what} as a console or `qiaolian sign` writes it.",
        hint="Download the request again, or sign it again.",
    )
