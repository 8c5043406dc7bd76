"""Statements as wallets sign them, and the files between a console and a person's machine."""

from __future__ import annotations

import json

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from chain.core.crypto import keccak256, new_private_key
from chain.core.errors import QiaolianError
from chain.ethereum.eip712 import Domain, Statement
from chain.statements.catalogue import STATEMENTS
from chain.statements.examples import example
from chain.statements.signing_files import SignatureFile, SignRequest
from chain.statements.typed_data import typed_data

DOMAIN = Domain(7_421, "0x" + "33" * 20)


@pytest.mark.parametrize("kind", STATEMENTS.values(), ids=STATEMENTS)
def test_a_wallet_computes_the_digest_that_contracts_check(kind: type[Statement]) -> None:
    statement = example(kind)
    message = encode_typed_data(full_message=typed_data(statement, DOMAIN))
    digest = keccak256(b"\x19" + message.version + message.header + message.body)
    assert digest == statement.digest(DOMAIN)


def test_a_wallets_signature_is_one_that_contracts_accept() -> None:
    statement, key = example(STATEMENTS["GrantDecision"]), new_private_key()
    signed = Account.sign_typed_data(key, full_message=typed_data(statement, DOMAIN))
    assert bytes(signed.message_hash) == statement.digest(DOMAIN)
    assert signed.signature[64] in (27, 28)


@pytest.mark.parametrize("kind", STATEMENTS.values(), ids=STATEMENTS)
def test_a_request_is_read_as_it_was_written(kind: type[Statement]) -> None:
    request = SignRequest(example(kind), DOMAIN, {"title": "江门（测试）𠮷"}, {"id": "0x"})
    assert SignRequest.from_bytes(request.to_bytes()) == request


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("form", "qiaolian.sign-request.v2"),
        ("type", "Nothing"),
        ("chainId", "7421"),
        ("chainId", True),
        ("contract", "0x33"),
        ("statement", {}),
        ("about", []),
        ("described", None),
    ],
)
def test_a_request_with_another_field_is_refused(field: str, value: object) -> None:
    request = SignRequest(example(STATEMENTS["GrantDecision"]), DOMAIN, {}, {})
    changed = {**json.loads(request.to_bytes()), field: value}
    with pytest.raises(QiaolianError) as caught:
        SignRequest.from_bytes(json.dumps(changed).encode())
    assert caught.value.code in ("sign_request_malformed", "statement_malformed")


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b'{"form": "x"}', b"[" * 100_000])
def test_a_file_that_is_something_else_is_refused(data: bytes) -> None:
    with pytest.raises(QiaolianError) as caught:
        SignRequest.from_bytes(data)
    assert caught.value.code == "sign_request_malformed"
    with pytest.raises(QiaolianError) as caught:
        SignatureFile.from_bytes(data)
    assert caught.value.code == "signature_file_malformed"
