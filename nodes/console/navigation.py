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

    with_code: bool = False
    """Of a subject's menu: shown only where the node knows the subject's code."""
    with_key: bool = False
    """Of a subject's menu: shown only for a key that is certified for a property deal."""

    def shown_to(self, visit: Visit, node: Role) -> bool:
        """Whether the person or subject sees it at a node of these roles."""
        if self.nodes and not node & self.nodes:
            return False
        if visit.subject is None:
            return visit.holds(*self.roles)
        if self.with_key and visit.subject.purpose != "deal":
            return False
        return bool(visit.subject.subject) or not self.with_code
