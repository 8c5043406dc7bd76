"""The log-in of a firm or citizen at a node's console. It is no evidence: no bundle holds one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chain.core.crypto import keccak256
from chain.ethereum.eip712 import Address, Bytes32, MemberId, Statement, Uint16, Uint64


@dataclass(frozen=True)
class SubjectLogin(Statement):
    """A certified one-time key logs in at one node, in one browser, once. Signed by that key."""

    contract: ClassVar[str] = "MemberDirectory"
    version: Uint16
    node: MemberId
    """The member whose node is logged in at."""
    origin: Bytes32
    """``origin_hash`` of the console's address, so that no other site can pass the challenge on."""
    challenge: Bytes32
    """Random, from the node; good for one log-in."""
    key: Address
    expires_at: Uint64


def origin_hash(origin: str) -> bytes:
    """keccak256 of an origin such as ``https://console.example.gov.cn``."""
    return keccak256(origin.encode())
