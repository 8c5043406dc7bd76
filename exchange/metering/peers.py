"""Requests about lanes to the other party's node, and how its answers are read. The calls
themselves are sent by ``batcher``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from chain.context import Context
from chain.core import schema
from chain.core.errors import BadInput, QiaolianError, Unavailable
from chain.ethereum.eip712 import Statement
from chain.statements.trade import ReceiptVoid, UsageReceipt, UsageRequest, Voucher

S = TypeVar("S", bound=Statement)
MAX_POSITIONS = 200
"""Positions of a lane that one answer holds at most."""


@dataclass(frozen=True, slots=True)
class Shown(Generic[S]):
    """A statement as a peer shows it; its signature is not checked yet."""

    statement: S
    signature: bytes


@dataclass(frozen=True, slots=True)
class ShownPosition:
    """A position of a lane as the other side shows it."""

    request: Shown[UsageRequest] | None
    receipt: Shown[UsageReceipt] | None
    void: Shown[ReceiptVoid] | None


@dataclass(frozen=True, slots=True)
class ShownLane:
    """Positions of a lane in order, and its closing voucher."""

    positions: list[ShownPosition]
    voucher: Shown[Voucher] | None

    @property
    def is_last(self) -> bool:
        """Whether the other side has no more positions."""
        return len(self.positions) < MAX_POSITIONS


async def lane_after(
    context: Context, member: str, agreement_id: bytes, lane: int, *, after: int
) -> ShownLane:
    """The positions of a lane after one, as the other side shows them; ``history_malformed``."""
    path = f"/v1/peer/agreements/0x{agreement_id.hex()}/positions?lane={lane}&after={after}"
    answer = await context.peers.get(member, path)
    found = answer.get("positions") if isinstance(answer, dict) else None
    if (
        not isinstance(found, list)
        or len(found) > MAX_POSITIONS
        or not all(isinstance(item, dict) for item in found)
    ):
        raise _malformed()
    positions = [
        ShownPosition(
            _shown(UsageRequest, item.get("request")),
            _shown(UsageReceipt, item.get("receipt")),
            _shown(ReceiptVoid, item.get("void")),
        )
        for item in found
    ]
    return ShownLane(positions, _shown(Voucher, answer.get("voucher")))


def _shown(kind: type[S], value: Any) -> Shown[S] | None:
    if value is None:
        return None
    try:
        return Shown(kind.from_json(value["statement"]), schema.signature(value["signature"]))
    except (QiaolianError, KeyError, TypeError, ValueError) as error:
        raise _malformed() from error


def _malformed() -> BadInput:
    return BadInput("history_malformed", "What the other side shows of a lane cannot be read.")


async def last_requests(
    context: Context, provider: str, agreement_id: bytes
) -> list[Shown[UsageRequest]]:
    """The last request of each lane as the provider shows it. What cannot be read is left out, and
    a provider that answers without any proves nothing either way.

    Raises:
        Unavailable: the provider cannot be asked.
    """
    try:
        answer = await context.peers.get(
            provider, f"/v1/peer/agreements/0x{agreement_id.hex()}/counters"
        )
    except Unavailable:
        raise
    except QiaolianError:
        return []
    lanes = answer.get("lanes") if isinstance(answer, dict) else None
    if not isinstance(lanes, dict):
        return []
    shown = [_last_request(reported) for reported in lanes.values()]
    return [request for request in shown if request is not None]


def _last_request(reported: Any) -> Shown[UsageRequest] | None:
    try:
        shown = reported["request"]
        return Shown(UsageRequest.from_json(shown["request"]), schema.signature(shown["signature"]))
    except (QiaolianError, ValueError, KeyError, TypeError):
        return None
