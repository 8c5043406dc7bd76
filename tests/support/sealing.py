"""Headers of a throw-away chain in the consortium engine's form, so that bundles made over it
verify.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import contracts
from chain.bundle.trust import Trust, ValidatorSet
from chain.core.crypto import address_of, keccak256, new_private_key, sign_digest
from chain.ethereum import rlp
from chain.ethereum.deployment import Deployment
from chain.ethereum.finality import CheckedHeader, UnsealedForTestsOnly

VALIDATOR = new_private_key()


class SealedForTests(UnsealedForTestsOnly):
    """Takes the throw-away chain's headers and seals them with a validator key of the tests."""

    def check(self, answer: Mapping[str, Any]) -> CheckedHeader:
        checked = super().check(answer)
        return dataclasses.replace(checked, header_rlp=sealed(checked))


def sealed(checked: CheckedHeader) -> bytes:
    """A header of the consortium engine's form over the same state, with one validator's seal."""
    vanity = bytes(32)
    validators = [bytes.fromhex(address_of(VALIDATOR)[2:])]
    fields: list[Any] = [
        checked.parent_hash,
        bytes(20),
        checked.state_root,
        bytes(32),
        bytes(32),
        bytes(256),
        rlp.integer(1),
        rlp.integer(checked.height),
        b"",
        rlp.integer(checked.timestamp),
        b"",
        vanity + rlp.encode([validators, bytes(65), []]),
        b"",
        b"",
        b"",
    ]
    seal = sign_digest(VALIDATOR, keccak256(keccak256(rlp.encode(fields)) + b"\x02"))
    fields[11] = vanity + rlp.encode([validators, bytes(65), [seal[:64] + bytes([seal[64] - 27])]])
    return rlp.encode(fields)


def trust_for(deployment: Deployment) -> Trust:
    """What an outside verifier would hold true of the throw-away chain."""
    return Trust(
        chain_id=deployment.chain_id,
        genesis_hash="0x" + deployment.genesis_hash.hex(),
        validator_sets=(ValidatorSet(0, None, frozenset({address_of(VALIDATOR)})),),
        contracts=deployment.contracts,
        storage={name: contracts.artifact(name).storage for name in contracts.NAMES},
        witnesses={},
        required_witnesses=0,
    )
