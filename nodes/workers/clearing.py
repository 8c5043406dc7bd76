"""Fetches the settlement banks' confirmations and the operator's rules."""

from __future__ import annotations

from chain.context import Context
from chain.core.errors import QiaolianError
from exchange.banking.payouts import fetch_confirmations
from exchange.clearing.statements import fetch_split_rules


class ClearingWorker:
    """A round asks for what is missing here; a node without unpaid withdrawals asks no bank."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def round(self) -> QiaolianError | None:
        """One round; the error of a settlement bank that could not be asked. Rules only divide what
        a statement shows: without the operator, those that were fetched last stay.
        """
        await fetch_split_rules(self._context)
        failed = await fetch_confirmations(self._context)
        return next(iter(failed.values()), None)
