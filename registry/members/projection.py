"""Members and their keys as a projection of MemberDirectory's events."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.core.crypto import keccak256
from chain.ethereum.ledger import Event
from registry.members.store import MemberKeyRow, MemberRow, ProposalRow


def apply(session: Session, event: Event) -> None:
    """Store a MemberDirectory event."""
    arguments = event.arguments
    if event.name == "MemberAdmitted":
        row = session.get(MemberRow, arguments["member"]) or MemberRow(member=arguments["member"])
        row.name, row.roles, row.admitted_at = arguments["name"], arguments["roles"], event.height
        row.suspended_at = row.lifted_at = row.removed_at = 0
        session.add(row)
    elif event.name in ("MemberSuspended", "MemberLifted", "MemberRemoved"):
        known = session.get(MemberRow, arguments["member"])
        if known is not None:
            column_of = {
                "MemberSuspended": "suspended_at",
                "MemberLifted": "lifted_at",
                "MemberRemoved": "removed_at",
            }
            setattr(known, column_of[event.name], event.height)
    elif event.name == "KeyAdded":
        session.merge(
            MemberKeyRow(
                fingerprint=arguments["fingerprint"],
                member=arguments["member"],
                purpose=arguments["purpose"],
                algorithm=arguments["algorithm"],
                from_height=event.height,
                ended_at=0,
            )
        )
    elif event.name == "KeyEnded":
        key = session.get(MemberKeyRow, arguments["fingerprint"])
        if key is not None:
            key.ended_at = event.height
    elif event.name == "Executed":
        done = session.scalars(
            sa.select(ProposalRow).where(ProposalRow.nonce == str(arguments["nonce"]))
        ).first()
        if done is not None and keccak256(done.call_data) == arguments["callHash"]:
            done.executed_at = event.height
