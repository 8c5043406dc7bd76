"""Who is looking at a page, and the guards that pages put in front of themselves.

The gate has put the visit into the request. A page without a guard is a fault that a test finds.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from chain.context import Context
from chain.core.errors import Forbidden, QiaolianError, Unauthorised
from chain.statements.members import Role
from nodes.console.accounts.model import PersonRole, Visit
from nodes.console.acts import service as acts
from nodes.console.acts.model import Act, Actor
from nodes.console.navigation import EVERY_NODE


def get_context(request: Request) -> Context:
    """The node's context."""
    context: Context = request.app.state.context
    return context


def get_visit(request: Request) -> Visit | None:
    """The person who is logged in, if any."""
    visit: Visit | None = request.state.visit
    return visit


@dataclass(frozen=True)
class PersonGuard:
    """Admits persons who hold one of the roles, at nodes that hold one of the member roles."""

    roles: tuple[PersonRole, ...]
    nodes: Role = EVERY_NODE

    async def __call__(self, request: Request) -> Visit:
        """The visit of whoever asks for the page; raises as ``check``."""
        return self.check(get_visit(request), get_context(request).roles)

    def admits(self, visit: Visit | None, node: Role) -> bool:
        """Whether ``check`` would pass: what decides about a link decides about its page."""
        try:
            self.check(visit, node)
        except QiaolianError:
            return False
        return True

    def check(self, visit: Visit | None, node: Role) -> Visit:
        """The person, at a node of these roles.

        Raises:
            Unauthorised: ``login_needed``, ``second_factor_needed``; Forbidden:
                ``person_role_missing``, ``page_of_another_role``.
        """
        if visit is None:
            raise Unauthorised("login_needed", "Nobody is logged in.", hint="Log in.")
        if not visit.verified:
            raise Unauthorised("second_factor_needed", "The second factor is still to be shown.")
        if self.nodes and not node & self.nodes:
            raise Forbidden(
                "page_of_another_role", "This page belongs to organisations of another role."
            )
        if not visit.holds(*self.roles):
            raise Forbidden(
                "person_role_missing",
                "Your role in the organisation does not cover this.",
                hint="Ask your administrator who may do it.",
            )
        return visit


@dataclass(frozen=True)
class SubjectGuard(PersonGuard):
    """Admits firms and citizens who have logged in with a certified key, and nobody else."""

    roles: tuple[PersonRole, ...] = ()

    def check(self, visit: Visit | None, node: Role) -> Visit:
        """The subject's visit.

        Raises:
            Unauthorised: ``login_needed``; Forbidden: ``page_of_subjects``.
        """
        if visit is None:
            raise Unauthorised("login_needed", "Nobody is logged in.", hint="Log in.")
        if visit.subject is None:
            raise Forbidden(
                "page_of_subjects",
                "This page belongs to firms and citizens who log in with a key of their own.",
                hint="Log out, then log in with the key.",
            )
        return visit


@dataclass(frozen=True)
class VisitGuard(PersonGuard):
    """Admits whoever has logged in: a person of the organisation, a firm or a citizen."""

    roles: tuple[PersonRole, ...] = tuple(PersonRole)

    def check(self, visit: Visit | None, node: Role) -> Visit:
        """The visit; raises as ``PersonGuard``."""
        if visit is not None and visit.subject is not None:
            return visit
        return super().check(visit, node)


def require(*roles: PersonRole, nodes: Role = EVERY_NODE) -> PersonGuard:
    """The guard for persons of these roles, and for nodes of these member roles."""
    return PersonGuard(roles, nodes)


READERS = (
    PersonRole.CHIEF_DATA_OFFICER,
    PersonRole.CLERK,
    PersonRole.MODELLER,
    PersonRole.AUDITOR,
)
"""Who may read the organisation's data matters. An administrator manages accounts only."""

require_reader = require(*READERS)
require_person = require(*PersonRole)
require_subject = SubjectGuard()
require_visit = VisitGuard()


def actor_of(request: Request, visit: Visit) -> Actor:
    """The person at this page, as an act names them."""
    account = visit.account
    path = getattr(request.scope.get("route"), "path", request.url.path)
    return Actor(account.id, account.login, account.name, f"{request.method} {path}")


def record(request: Request, visit: Visit, act: Act, *, outcome: str = acts.DONE) -> None:
    """Record an act of the person at this page, before anything is shown or done."""
    acts.record(get_context(request), actor_of(request, visit), act, outcome=outcome)
