"""A throw-away chain with every contract, and organisations whose services run in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from chain.core.crypto import new_private_key
from chain.ethereum import anvil
from chain.ethereum.deploy import deploy
from chain.ethereum.deployment import CloseWindow, Deployment
from chain.ethereum.ledger import Ledger
from chain.statements.members import Role
from registry.uscc import with_check_character
from tests.support.node import LocalNode
from tests.support.organisations import Governance, Organisation

NodeT = TypeVar("NodeT", bound=LocalNode)
MakeNode = Callable[[Organisation, str, Deployment, Mapping[str, NodeT]], NodeT]
"""Makes an organisation's node from the chain's address, the contracts, and all nodes by member id,
which are there once all are made.
"""


@dataclass
class World(Generic[NodeT]):
    """Admitted organisations on one chain."""

    url: str
    deployment: Deployment
    ledger: Ledger
    governance: Governance
    nodes: dict[str, NodeT]
    """By the organisation's name."""


@contextmanager
def running_world(
    directory: Path, roles: Mapping[str, Role], founders: Sequence[str], make_node: MakeNode[NodeT]
) -> Iterator[World[NodeT]]:
    """Organisations of these names and roles, each with a node that runs until the end; the
    founders govern.
    """
    url, process = anvil.start(directory / "anvil.log", keeps_history=True)
    made: dict[str, NodeT] = {}
    by_member: dict[str, NodeT] = {}
    try:
        organisations = [
            Organisation.make(name, with_check_character(f"11440700MB2X0C{index:03d}"), held)
            for index, (name, held) in enumerate(roles.items())
        ]
        governors = [
            organisation for organisation in organisations if organisation.name in founders
        ]
        deployment = deploy(
            url,
            new_private_key(),
            [governor.governor() for governor in governors],
            min_close_window=CloseWindow(2, 2),
        )
        ledger = Ledger(url, deployment)
        governance = Governance(ledger, governors)
        governance.admit(organisations, founders)
        for organisation in organisations:
            node = make_node(organisation, url, deployment, by_member)
            made[organisation.name] = by_member[organisation.member] = node
        log_keys = {
            member: "0x" + node.organisation.log.public_key.hex()
            for member, node in by_member.items()
        }
        for node in made.values():
            node.context.log_keys = log_keys
        yield World(url, deployment, ledger, governance, made)
        ledger.close()
    finally:
        for node in made.values():
            node.stopped.set()
        for node in made.values():
            node.close()
        anvil.end(process)
