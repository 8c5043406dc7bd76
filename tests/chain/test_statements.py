"""The statements' own EIP-712 encoding against eth-account's, and the closed JSON form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from eth_account.messages import encode_typed_data

from chain.core.crypto import address_of, keccak256, recover, sign_digest
from chain.core.errors import BadInput, BadSignature
from chain.ethereum.eip712 import Domain, Struct, camel
from chain.statements.catalogue import STATEMENTS
from chain.statements.disputes import LogPosition
from chain.statements.trade import Agreement, LaneTotal, Share, UsageRequest

DOMAIN = Domain(7_421, "0x" + "33" * 20)
MEMBER = "91440700MA4UAAAA1X"


def example(struct: type[Struct]) -> Struct:
    values: dict[str, Any] = {}
    for position, (name, codec) in enumerate(struct._codecs()):
        if codec.solidity == "Share[]":
            values[name] = (Share(MEMBER, 7_000), Share("", 3_000))
        elif codec.solidity == "LaneTotal[]":
            values[name] = (LaneTotal(0, 3, 2, 100), LaneTotal(255, 5, 5, 2**127))
        elif codec.solidity == "LogPosition[]":
            values[name] = (LogPosition("11440700MB2C62170M", 2**52), LogPosition("", 0))
        elif codec.solidity == "bool":
            values[name] = True
        elif codec.solidity == "address":
            values[name] = "0x" + f"{position + 1:02x}" * 20
        elif codec.solidity.startswith("uint"):
            values[name] = position + 1
        elif codec.solidity == "bytes18":
            values[name] = MEMBER
        else:
            try:
                codec.encode(b"\x07" * 32)
                values[name] = bytes([position]) * 32
            except BadInput:
                values[name] = "credit-check"
    return struct(**values)


def independent_digest(statement: Any) -> bytes:
    types: dict[str, list[dict[str, str]]] = {}
    for part in statement.type_string().split(")")[:-1]:
        name, fields = part.split("(")
        types[name] = [
            dict(zip(("type", "name"), field.split(" "), strict=True))
            for field in fields.split(",")
        ]

    def data(struct: Struct) -> dict[str, Any]:
        return {
            camel(name): [data(item) for item in getattr(struct, name)]
            if isinstance(getattr(struct, name), tuple)
            else codec.to_contract(getattr(struct, name))
            for name, codec in struct._codecs()
        }

    message = encode_typed_data(
        domain_data={
            "name": "Qiaolian",
            "version": "1",
            "chainId": DOMAIN.chain_id,
            "verifyingContract": DOMAIN.contract,
        },
        message_types=types,
        message_data=data(statement),
    )
    return keccak256(b"\x19" + message.version + message.header + message.body)


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_digest_equals_an_independent_eip712_implementation(name: str) -> None:
    statement: Any = example(STATEMENTS[name])
    assert statement.digest(DOMAIN) == independent_digest(statement)


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_json_form_round_trips_and_is_closed(name: str) -> None:
    statement = example(STATEMENTS[name])
    form = statement.to_json()
    assert STATEMENTS[name].from_json(form) == statement
    with pytest.raises(BadInput):
        STATEMENTS[name].from_json({**form, "extra": 1})
    with pytest.raises(BadInput):
        STATEMENTS[name].from_json({key: value for key, value in form.items() if key != "version"})


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_changing_any_field_changes_the_digest(name: str) -> None:
    statement: Any = example(STATEMENTS[name])
    for field, codec in statement._codecs():
        value = getattr(statement, field)
        if isinstance(value, bool):
            other: Any = not value
        elif isinstance(value, int):
            other = value + 1
        elif isinstance(value, bytes):
            other = bytes(32) if value != bytes(32) else b"\x01" * 32
        elif codec.solidity == "address":
            other = "0x" + "ee" * 20
        else:
            other = () if isinstance(value, tuple) else ""
        assert replace(statement, **{field: other}).digest(DOMAIN) != statement.digest(DOMAIN), (
            field
        )


def test_another_chain_or_contract_gives_another_digest() -> None:
    statement: Any = example(UsageRequest)
    assert statement.digest(DOMAIN) != statement.digest(
        Domain(DOMAIN.chain_id + 1, DOMAIN.contract)
    )
    assert statement.digest(DOMAIN) != statement.digest(Domain(DOMAIN.chain_id, "0x" + "34" * 20))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("price", -1),
        ("price", 1 << 128),
        ("unit", 256),
        ("nonce", b"\0" * 31),
        ("buyer", "short"),
        ("purpose", "Ä"),
    ],
)
def test_a_field_outside_its_type_is_refused(field: str, value: object) -> None:
    statement: Any = example(Agreement)
    with pytest.raises(BadInput) as caught:
        replace(statement, **{field: value}).digest(DOMAIN)
    assert caught.value.code == "statement_malformed"


def test_a_mirrored_high_s_signature_is_refused() -> None:
    from chain.core.crypto import CURVE_ORDER

    key, digest = keccak256(b"key"), keccak256(b"digest")
    signature = sign_digest(key, digest)
    assert recover(digest, signature) == address_of(key)
    mirrored = (
        signature[:32]
        + (CURVE_ORDER - int.from_bytes(signature[32:64], "big")).to_bytes(32, "big")
        + bytes([55 - signature[64]])
    )
    with pytest.raises(BadSignature):
        recover(digest, mirrored)
