"""Members and their keys as a projection of MemberDirectory's events."""

from __future__ import annotations

from sqlalchemy.orm import Session

from chain.ethereum.ledger import Event
from registry.members import store
from registry.members.model import MemberKey


def apply(session: Session, event: Event) -> None:
    """Store a MemberDirectory event."""
    arguments, height = event.arguments, event.height
    if event.name == "MemberAdmitted":
        name, roles = arguments["name"], arguments["roles"]
        store.admit(session, arguments["member"], name=name, roles=roles, height=height)
    elif event.name == "MemberSuspended":
        store.set_member_heights(session, arguments["member"], suspended_at=height)
    elif event.name == "MemberLifted":
        store.set_member_heights(session, arguments["member"], lifted_at=height)
    elif event.name == "MemberRemoved":
        store.set_member_heights(session, arguments["member"], removed_at=height)
    elif event.name == "KeyAdded":
        key = MemberKey(
            fingerprint=arguments["fingerprint"],
            purpose=arguments["purpose"],
            algorithm=arguments["algorithm"],
            from_height=height,
            ended_at=0,
        )
        store.add_key(session, arguments["member"], key)
    elif event.name == "KeyEnded":
        store.end_key(session, arguments["fingerprint"], height)
    elif event.name == "Executed":
        store.set_executed(
            session, nonce=arguments["nonce"], call_hash=arguments["callHash"], height=height
        )
