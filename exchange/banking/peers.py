"""Requests about payouts to settlement banks' nodes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlencode

from chain.context import Context
from chain.core.errors import QiaolianError, Unavailable
from chain.statements.payouts import PayoutConfirmation

_SIGNATURE = re.compile("0x[0-9a-f]{130}")


async def confirmations(
    context: Context, bank: str, ids: Sequence[str]
) -> dict[str, tuple[PayoutConfirmation, bytes]]:
    """What a settlement bank signed of these payouts, by id; the signatures are not checked yet.

    Raises:
        Unavailable: ``peer_answer_unreadable``, and when it cannot be asked.
    """
    query = urlencode([("id", one) for one in ids])
    answer = await context.peers.get(bank, f"/v1/peer/payouts?{query}")
    try:
        return {str(row["id"]): _read(row) for row in list(answer["confirmations"])[: len(ids)]}
    except (KeyError, TypeError, ValueError, QiaolianError) as error:
        raise Unavailable(
            "peer_answer_unreadable", "The settlement bank's node shows no list of confirmations."
        ) from error


def _read(row: dict[str, object]) -> tuple[PayoutConfirmation, bytes]:
    signature = str(row["signature"])
    if _SIGNATURE.fullmatch(signature) is None:
        raise ValueError("signature")
    return PayoutConfirmation.from_json(row["statement"]), bytes.fromhex(signature[2:])
