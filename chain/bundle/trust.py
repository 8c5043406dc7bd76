"""The trust file: what a verifier itself holds true. It never comes out of a bundle.

It names one chain (id and genesis), the validator sets by height, the contracts with the storage
slots of the variables proofs are read from, and the witnesses with how many of them a log's
checkpoint must carry.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from chain.core.canonical import loads
from chain.core.crypto import is_address
from chain.core.errors import Malformed, WrongTrust

FORMAT = "qiaolian-trust/1"
_HASH = re.compile(r"0x[0-9a-f]{64}")


@dataclass(frozen=True)
class ValidatorSet:
    """The validators of a range of heights; ``to_height`` None means until further notice."""

    from_height: int
    to_height: int | None
    validators: frozenset[str]


@dataclass(frozen=True)
class Trust:
    """A read trust file."""

    chain_id: int
    genesis_hash: str
    validator_sets: tuple[ValidatorSet, ...]
    contracts: Mapping[str, str]
    storage: Mapping[str, Mapping[str, int]]
    witnesses: Mapping[str, bytes]
    required_witnesses: int

    def validators_at(self, height: int) -> frozenset[str]:
        """The set that seals a height; ``trust_no_validators`` if the file has none."""
        for validator_set in self.validator_sets:
            if validator_set.from_height <= height and (
                validator_set.to_height is None or height <= validator_set.to_height
            ):
                return validator_set.validators
        raise WrongTrust(
            "trust_no_validators", f"The trust file names no validators for block {height}."
        )

    def with_validators(self, from_height: int, validators: Iterable[str]) -> Trust:
        """This trust once other validators seal from a height on; ``trust_height`` unless that is
        within the last set's range.
        """
        *before, last = sorted(
            self.validator_sets, key=lambda validator_set: validator_set.from_height
        )
        if last.to_height is not None or from_height <= last.from_height:
            raise WrongTrust(
                "trust_height",
                f"Validators change after block {last.from_height}, "
                "where the last set of the file begins.",
            )
        ended = replace(last, to_height=from_height - 1)
        return replace(
            self,
            validator_sets=(*before, ended, ValidatorSet(from_height, None, frozenset(validators))),
        )

    def contract(self, name: str) -> str:
        """A contract's address; ``trust_no_contract``."""
        if name not in self.contracts:
            raise WrongTrust(
                "trust_no_contract", f"The trust file does not name the contract {name}."
            )
        return self.contracts[name]

    def slot(self, contract: str, variable: str) -> int:
        """The slot of a contract's variable; ``trust_no_slot``."""
        try:
            return self.storage[contract][variable]
        except KeyError as error:
            raise WrongTrust(
                "trust_no_slot", f"The trust file names no storage slot of {contract}.{variable}."
            ) from error

    def to_json(self) -> dict[str, Any]:
        """The file's content."""
        return {
            "format": FORMAT,
            "chainId": self.chain_id,
            "genesisHash": self.genesis_hash,
            "validatorSets": [
                {
                    "fromHeight": validator_set.from_height,
                    "toHeight": validator_set.to_height,
                    "validators": sorted(validator_set.validators),
                }
                for validator_set in self.validator_sets
            ],
            "contracts": dict(self.contracts),
            "storage": {name: dict(slots) for name, slots in self.storage.items()},
            "witnesses": {name: "0x" + key.hex() for name, key in self.witnesses.items()},
            "requiredWitnesses": self.required_witnesses,
        }


def read(data: bytes) -> Trust:
    """Read a trust file strictly; ``trust_malformed`` names no element, since none of the file can
    be used then.
    """
    try:
        value = loads(data, max_bytes=1_000_000)
        _require(isinstance(value, dict) and value.get("format") == FORMAT)
        _require(
            set(value)
            == {
                "format",
                "chainId",
                "genesisHash",
                "validatorSets",
                "contracts",
                "storage",
                "witnesses",
                "requiredWitnesses",
            }
        )
        _require(_is_count(value["chainId"]) and _HASH.fullmatch(value["genesisHash"]) is not None)
        _require(all(is_address(address) for address in value["contracts"].values()))
        _require(
            all(_is_count(slot) for slots in value["storage"].values() for slot in slots.values())
        )
        _require(_is_count(value["requiredWitnesses"]))
        _require(all(_HASH.fullmatch(key) is not None for key in value["witnesses"].values()))
        sets = tuple(_validator_set(validator_set) for validator_set in value["validatorSets"])
        _require(len(sets) > 0 and _are_apart(sets))
        return Trust(
            chain_id=value["chainId"],
            genesis_hash=value["genesisHash"],
            validator_sets=sets,
            contracts=value["contracts"],
            storage=value["storage"],
            witnesses={name: bytes.fromhex(key[2:]) for name, key in value["witnesses"].items()},
            required_witnesses=value["requiredWitnesses"],
        )
    except (Malformed, KeyError, TypeError, AttributeError, ValueError) as error:
        raise WrongTrust(
            "trust_malformed",
            "The trust file is not of the expected form.",
            hint="Get a fresh one from your operator.",
        ) from error


def _validator_set(value: Any) -> ValidatorSet:
    _require(set(value) == {"fromHeight", "toHeight", "validators"})
    start, end, validators = value["fromHeight"], value["toHeight"], value["validators"]
    _require(
        _is_count(start)
        and (end is None or (_is_count(end) and start <= end))
        and len(validators) > 0
    )
    _require(
        isinstance(validators, list)
        and all(is_address(validator) for validator in validators)
        and len(set(validators)) == len(validators)
    )
    return ValidatorSet(start, end, frozenset(validators))


def _are_apart(sets: Sequence[ValidatorSet]) -> bool:
    """No height has two sets."""
    ordered = sorted(sets, key=lambda validator_set: validator_set.from_height)
    return all(
        one.to_height is not None and one.to_height < other.from_height
        for one, other in pairwise(ordered)
    )


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _require(condition: bool) -> None:
    if not condition:
        raise ValueError("trust")
