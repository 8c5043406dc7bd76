"""Recovers final totals that a restored database lost, from the other party."""

from __future__ import annotations

from chain.context import Context
from chain.core.crypto import recover
from chain.core.errors import Conflict
from exchange.agreements.model import AgreementSide, SignedAgreement
from exchange.closing import peers, store, totals


async def recover_final(context: Context, signed: SignedAgreement) -> None:
    """Store the final totals that both sides signed: without them a provider would serve on after
    it had ended the agreement.

    Raises:
        BadInput: ``history_malformed``; Conflict: ``receipt_of_other``,
            ``answer_wrong_signer``; Unavailable: when the other party cannot be asked.
    """
    agreement, agreement_id = signed.agreement, signed.agreement_id
    if await context.database.aread(lambda session: store.find(session, agreement_id)):
        return
    other = agreement.provider if signed.side == AgreementSide.BUYER else agreement.buyer
    shown = await peers.final_totals(context, other, agreement_id)
    if shown is None:
        return
    if shown.agreement_id != agreement_id:
        raise Conflict("receipt_of_other", "The final totals shown are of another agreement.")
    digest = shown.settlement.digest(context.domain(totals.CONTRACT))
    signers = (
        recover(digest, shown.buyer_signature),
        recover(digest, shown.provider_signature or b""),
    )
    if signers != (agreement.buyer_key, agreement.provider_key):
        raise Conflict(
            "answer_wrong_signer", "The final totals shown are not signed by both pinned keys."
        )
    await context.database.awrite(lambda session: totals.record(context, session, shown))
