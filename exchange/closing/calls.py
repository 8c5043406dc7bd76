"""The call that closes by final totals: both sides queue it, the contract takes it once."""

from __future__ import annotations

from sqlalchemy.orm import Session

from chain.context import Context
from chain.core.errors import Conflict
from chain.outbox import refused
from chain.statements.trade import Agreement
from exchange.closing.model import StoredSettlement
from exchange.settlement.calls import send


def queue_closing(
    context: Context, session: Session, agreement: Agreement, totals: StoredSettlement
) -> str:
    """Queue the closing by totals that both signed; the operation sent."""
    arguments = [agreement, totals.settlement, totals.provider_signature, totals.buyer_signature]
    return send(context, session, _operation(totals), "closeCooperatively", arguments)


def require_not_refused(session: Session, totals: StoredSettlement) -> None:
    """The chain has not refused these totals: ``cooperative_close_refused``."""
    if refused(session, _operation(totals)):
        raise Conflict(
            "cooperative_close_refused",
            "The chain refused the final totals that both sides signed.",
            hint="Give notice: claims continue with what was acknowledged.",
        )


def _operation(totals: StoredSettlement) -> str:
    return f"final/{totals.agreement_id.hex()}/{totals.settlement.struct_hash().hex()[:16]}"
