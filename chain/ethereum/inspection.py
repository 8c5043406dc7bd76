"""What a chain node says of a deployment's contracts, for people who were handed a deployment file.

Plain calls that trust the node asked: for display, never for permission.
"""

from __future__ import annotations

from dataclasses import dataclass

from chain.core.errors import NotFound
from chain.ethereum import web3_client
from chain.ethereum.deployment import Deployment
from chain.ethereum.rpc import ChainAnswer
from contracts import artifact


@dataclass(frozen=True, slots=True)
class InspectedContract:
    """One contract of a deployment as the chain has it."""

    name: str
    address: str
    code_bytes: int
    closed: bool
    """Whether the governors closed it to new business."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """A deployment as one chain node shows it."""

    chain_id: int
    height: int
    contracts: tuple[InspectedContract, ...]


def inspect(rpc_url: str, deployment: Deployment) -> Inspection:
    """Look each contract of a deployment up at a chain node.

    Raises:
        ChainAnswer: ``chain_wrong_id`` where the node answers for another chain.
        NotFound: ``contract_missing`` where there is no code at an address.
        ChainUnreachable, RpcRefused: as ``web3_client.chain_errors``.
    """
    client = web3_client.connect(rpc_url)
    with web3_client.chain_errors(rpc_url):
        genesis = bytes(client.eth.get_block(0)["hash"])
        if (client.eth.chain_id, genesis) != (deployment.chain_id, deployment.genesis_hash):
            raise ChainAnswer(
                "chain_wrong_id",
                f"The chain node answers for chain {client.eth.chain_id}, which is not the "
                f"deployment's chain {deployment.chain_id}, or has another genesis block.",
                hint="Correct the URL, or use the deployment.json of that chain.",
            )
        directory = client.eth.contract(
            client.to_checksum_address(deployment.address("MemberDirectory")),
            abi=artifact("MemberDirectory").abi,
        )
        found = []
        for name, address in deployment.contracts.items():
            at = client.to_checksum_address(address)
            code = client.eth.get_code(at)
            if not code:
                raise NotFound(
                    "contract_missing",
                    f"There is no contract at {address}, where the deployment has {name}.",
                    hint="Use the deployment.json that `qiaolian found` wrote for this chain.",
                )
            closed = directory.functions.isClosed(at).call()
            found.append(InspectedContract(name, address, len(code), closed))
        return Inspection(client.eth.chain_id, client.eth.block_number, tuple(found))
