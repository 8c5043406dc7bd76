"""Which chain, and where its contracts are: the file that every node and trust file starts from.

``deployment.json`` holds the chain id, the genesis hash and the address of each contract. The chain
id is unique for each genesis, so a rebuilt chain is another chain; the genesis hash is checked all
the same whenever a connection is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from chain.bundle.trust import Trust, ValidatorSet
from chain.core.crypto import is_address
from chain.core.errors import BadInput
from chain.ethereum.eip712 import Domain
from contracts import NAMES, artifact


@dataclass(frozen=True)
class CloseWindow:
    """How long claims count after the notice that ends an agreement: until both have passed."""

    blocks: int
    seconds: int


MIN_CLOSE_WINDOW = CloseWindow(86_400, 86_400)
"""The shortest window of a network that is founded without saying otherwise: a day, at one block a
second.
"""
MAX_CLOSE_WINDOW = CloseWindow(7_776_000, 7_776_000)
"""The longest window the contract takes: 90 days, so that no agreement locks a refund for years."""


@dataclass(frozen=True)
class Deployment:
    """The contracts of one network."""

    chain_id: int
    genesis_hash: bytes
    """32 bytes: the hash of block 0."""
    contracts: Mapping[str, str]
    """Contract name to lowercase address."""
    deployed_at: int
    """Height of the first deploying block: events start here."""
    min_close_window: CloseWindow = MIN_CLOSE_WINDOW
    """The shortest closing window of an agreement, as ``TradeSettlement`` was created with it."""

    def address(self, contract: str) -> str:
        """A contract's address, or ``contract_unknown``."""
        try:
            return self.contracts[contract]
        except KeyError:
            raise BadInput(
                "contract_unknown",
                f"The deployment has no contract named {contract}.",
                hint="Use the deployment.json of this network.",
            ) from None

    def domain(self, contract: str) -> Domain:
        """The EIP-712 domain of a contract's statements."""
        return Domain(self.chain_id, self.address(contract))

    def name_of(self, address: str) -> str | None:
        """The name of the contract at an address, or None."""
        return next((name for name, at in self.contracts.items() if at == address.lower()), None)

    def trust(
        self, validators: Iterable[str], *, witnesses: Mapping[str, bytes], required_witnesses: int
    ) -> Trust:
        """A trust file for this deployment: one validator set from the genesis on, witnesses' log
        keys by member.

        What whoever runs the network would publish. A verifier decides itself whether to believe
        it.
        """
        return Trust(
            chain_id=self.chain_id,
            genesis_hash="0x" + self.genesis_hash.hex(),
            validator_sets=(ValidatorSet(0, None, frozenset(validators)),),
            contracts=dict(self.contracts),
            storage={name: artifact(name).storage for name in NAMES},
            witnesses=dict(witnesses),
            required_witnesses=required_witnesses,
        )

    def to_json(self) -> dict[str, Any]:
        """The closed JSON form."""
        return {
            "chainId": self.chain_id,
            "genesisHash": "0x" + self.genesis_hash.hex(),
            "contracts": dict(self.contracts),
            "deployedAt": self.deployed_at,
            "minCloseWindow": {
                "blocks": self.min_close_window.blocks,
                "seconds": self.min_close_window.seconds,
            },
        }

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read the closed JSON form, or ``deployment_malformed``."""
        try:
            if set(value) != {
                "chainId",
                "genesisHash",
                "contracts",
                "deployedAt",
                "minCloseWindow",
            }:
                raise ValueError("fields")
            contracts = {str(name): str(address) for name, address in value["contracts"].items()}
            genesis = bytes.fromhex(value["genesisHash"].removeprefix("0x"))
            window = value["minCloseWindow"]
            if set(window) != {"blocks", "seconds"}:
                raise ValueError("fields")
            numbers = (value["chainId"], value["deployedAt"], window["blocks"], window["seconds"])
            if (
                len(genesis) != 32
                or not all(map(is_address, contracts.values()))
                or any(type(n) is not int for n in numbers)
            ):
                raise ValueError("values")
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise BadInput(
                "deployment_malformed",
                "The deployment file does not have the form that `qiaolian network up` writes.",
                hint="Copy deployment.json again from the organisation that runs the network.",
            ) from error
        return cls(numbers[0], genesis, contracts, numbers[1], CloseWindow(*numbers[2:]))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read ``deployment.json``."""
        try:
            value = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise BadInput(
                "deployment_missing", f"There is no deployment file at {path}."
            ) from error
        except (OSError, ValueError) as error:
            raise BadInput(
                "deployment_malformed", f"The deployment file {path} cannot be read as JSON."
            ) from error
        return cls.from_json(value)

    def save(self, path: str | Path) -> None:
        """Write ``deployment.json`` whole or not at all."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".partial")
        partial.write_text(json.dumps(self.to_json(), indent=2) + "\n", encoding="utf-8")
        partial.replace(target)
