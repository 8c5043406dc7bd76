"""What this organisation has spent as a buyer, from its own stored calls. Amounts in fen.

A call's row has its lane's totals after it, so that the totals at any time are those of the last
row before it: one index look-up for each lane, however many calls there are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from chain.context import Context
from exchange.metering import buyer_store, store
from exchange.metering.buyer import result_of
from exchange.metering.model import CallResult, CallStatus, SpentTotals


def totals(context: Context, agreement_ids: Collection[bytes]) -> dict[bytes, SpentTotals]:
    """What was spent so far under each of these agreements."""
    found = dict.fromkeys(agreement_ids, SpentTotals())
    with context.database.read() as session:
        for agreement_id, units, amount in store.last_totals(session, found):
            before = found[agreement_id]
            found[agreement_id] = SpentTotals(before.units + units, before.amount + amount)
    return found


def totals_before(
    context: Context, lanes: Mapping[bytes, int], times: Sequence[int]
) -> dict[int, dict[bytes, SpentTotals]]:
    """What had been spent before each of some times.

    Args:
        lanes: the number of lanes of each agreement.
        times: Unix seconds.
    """
    pairs = [(agreement, lane) for agreement, count in lanes.items() for lane in range(count)]
    found = {at: dict.fromkeys(lanes, SpentTotals()) for at in times}
    with context.database.read() as session:
        for at, agreement, units, amount in store.totals_before(session, pairs, list(found)):
            before = found[at][agreement]
            found[at][agreement] = SpentTotals(before.units + units, before.amount + amount)
    return found


def results(context: Context, keys: Collection[str]) -> dict[str, CallResult]:
    """The completed calls under these idempotency keys."""
    found = buyer_store.find_by_keys(context.database, keys)
    unfinished = (CallStatus.ASKED, CallStatus.CONFLICT)
    return {call.key: result_of(call) for call in found if call.status not in unfinished}
