"""A statement as the JSON that wallets sign: ``eth_signTypedData_v4`` (EIP-712).

The digest a wallet computes from it is ``Statement.digest``; tests compare the two through
``eth-account``.
"""

from __future__ import annotations

import re
from typing import Any

from chain.ethereum.eip712 import DOMAIN_NAME, DOMAIN_VERSION, Domain, Statement, Struct, camel

_DOMAIN_FIELDS = [
    {"name": "name", "type": "string"},
    {"name": "version", "type": "string"},
    {"name": "chainId", "type": "uint256"},
    {"name": "verifyingContract", "type": "address"},
]
_DEFINITION = re.compile(r"(\w+)\(([^)]*)\)")


def typed_data(statement: Statement, domain: Domain) -> dict[str, Any]:
    """The typed data of a statement under a domain: types, primary type, domain and message.

    Integers are decimal strings and byte strings 0x hex, as every wallet takes them.
    """
    return {
        "types": {"EIP712Domain": _DOMAIN_FIELDS, **_types(statement.type_string())},
        "primaryType": type(statement).__name__,
        "domain": {
            "name": DOMAIN_NAME,
            "version": DOMAIN_VERSION,
            "chainId": domain.chain_id,
            "verifyingContract": domain.contract,
        },
        "message": _message(statement),
    }


def _types(encoded: str) -> dict[str, list[dict[str, str]]]:
    """The struct types of an EIP-712 ``encodeType`` string."""
    found: dict[str, list[dict[str, str]]] = {}
    for name, members in _DEFINITION.findall(encoded):
        pairs = (member.split(" ") for member in members.split(","))
        found[name] = [{"name": label, "type": kind} for kind, label in pairs]
    return found


def _message(struct: Struct) -> dict[str, Any]:
    return {
        camel(name): _plain(getattr(struct, name), codec.to_contract)
        for name, codec in struct._codecs()
    }


def _plain(value: Any, to_contract: Any) -> Any:
    if isinstance(value, Struct):
        return _message(value)
    if isinstance(value, tuple):
        return [
            _message(item) if isinstance(item, Struct) else _scalar(raw)
            for item, raw in zip(value, to_contract(value), strict=True)
        ]
    return _scalar(to_contract(value))


def _scalar(value: Any) -> Any:
    if isinstance(value, bool | str):
        return value
    return str(value) if isinstance(value, int) else "0x" + bytes(value).hex()
