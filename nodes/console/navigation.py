"""The menu: which pages a person of a role sees at a node of a role."""

from __future__ import annotations

from dataclasses import dataclass

from chain.statements.members import Role
from nodes.console.accounts.model import PersonRole, Visit

EVERY_NODE = Role(0)
"""For pages that nodes of every role serve."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the menu. ``label`` is marked by ``N_``."""

    path: str
    label: str
    roles: tuple[PersonRole, ...]
    nodes: Role = EVERY_NODE

    def shown_to(self, visit: Visit, node: Role) -> bool:
        """Whether the person sees it at a node of these roles."""
        return visit.holds(*self.roles) and (not self.nodes or bool(node & self.nodes))
