"""Calls that change the status of an asset: cancellation and dispute hold."""

from __future__ import annotations

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Unavailable
from chain.ethereum.proved_records import asset_record, hold_record
from chain.outbox import Priority, enqueue, is_known, next_attempt, outcome
from registry.assets.rules import hold_change
from registry.assets.serving import latest_own_version


def cancel(context: Context, asset_id: bytes, reason: bytes) -> str:
    """Take an own asset off the network; the outbox operation."""
    published = latest_own_version(context, asset_id).operation
    return _send(
        context, f"asset-cancel/{asset_id.hex()}", "cancel", [asset_id, reason], follows=published
    )


def set_hold(context: Context, asset_id: bytes, *, reason: bytes | None) -> str:
    """As a supervisor, put an asset on dispute hold for a reason (a code), or release it (None);
    the outbox operation.

    Raises:
        NotFound: ``asset_unknown``; Unavailable: ``hold_changing`` while the view lacks this node's
            last change, ``chain_view_stale``.
    """
    records = context.view.proved([asset_record(asset_id), hold_record(asset_id)])
    change = hold_change(asset_id, records, placed=reason is not None)
    if change.effective:
        _require_not_done(context, change.operation)
    arguments = [asset_id] if reason is None else [asset_id, reason]
    return _send(context, change.operation, change.function, arguments)


def _require_not_done(context: Context, operation: str) -> None:
    """A change that is done and not in the view yet may have been followed by its opposite."""
    with context.database.read() as session:
        if is_known(session, operation) and outcome(session, operation).state == "done":
            raise Unavailable(
                "hold_changing", "The hold was just changed.", hint="Ask again in a second."
            )


def _send(
    context: Context,
    operation: str,
    function: str,
    arguments: list[bytes],
    *,
    follows: str | None = None,
) -> str:
    def change(session: Session) -> str:
        sent = next_attempt(session, operation)
        enqueue(
            session,
            sender=context.transaction_address,
            operation_id=sent,
            contract="AssetRegistry",
            function=function,
            arguments=arguments,
            priority=Priority.URGENT,
            follows=follows,
        )
        return sent

    return context.database.write(change)
