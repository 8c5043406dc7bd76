"""View models of the pages of calls. Money in fen, times in Unix seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chain.context import Context
from chain.core.error_codes import error_codes
from exchange.agreements import service as agreements
from exchange.metering.model import BuyerCall, CallResult, CallStatus
from nodes.console.i18n import CHINESE, N_
from nodes.console.names import asset_name, purpose_name
from registry.access import hex_bytes
from registry.grants import service as grants

STATES: Mapping[CallStatus, str] = {
    CallStatus.ASKED: N_("unanswered"),
    CallStatus.SERVED: N_("served"),
    CallStatus.REFUSED: N_("refused by the provider"),
    CallStatus.VOID: N_("voided, costs nothing"),
    CallStatus.CONFLICT: N_("contradicts this node's records"),
}


@dataclass(frozen=True, slots=True)
class CallRow:
    """A stored call of a list; ``state`` is a marked label."""

    key: str
    lane: int
    seq: int
    state: str
    reason: str
    asked_at: int


@dataclass(frozen=True, slots=True)
class CallPage:
    """A finished call."""

    key: str
    agreement_id: str
    lane: int
    seq: int
    state: str
    served: bool
    reason: str
    record: list[tuple[str, str]]
    units: int
    amount: int
    receipt: str


@dataclass(frozen=True, slots=True)
class CallTerms:
    """The terms of an agreement that its forms for calls show; fen."""

    agreement_id: str
    asset: str
    purpose: str
    columns: tuple[str, ...]
    price: int
    max_per_call: int


def call_terms(context: Context, agreement_id: str, language: str) -> CallTerms:
    """An agreement's terms; raises as ``agreements.load``."""
    agreement = agreements.load(context, hex_bytes(agreement_id)).agreement
    scope = grants.find(context, agreement.grant_id).scope
    return CallTerms(
        agreement_id=agreement_id,
        asset=asset_name(context, agreement.asset_id),
        purpose=purpose_name(agreement.purpose, language),
        columns=() if scope is None else tuple(scope.columns),
        price=agreement.price,
        max_per_call=agreement.max_per_call,
    )


def call_row(call: BuyerCall, language: str) -> CallRow:
    """A stored call as the list shows it."""
    return CallRow(
        key=call.key or "",
        lane=call.lane,
        seq=call.seq,
        state=STATES[call.status],
        reason=meaning_of(call.reason, language),
        asked_at=call.asked_at,
    )


def call_page(result: CallResult, language: str) -> CallPage:
    """A finished call as its page shows it."""
    record = (result.content or {}).get("record") or {}
    return CallPage(
        key=result.key,
        agreement_id="0x" + result.agreement_id.hex(),
        lane=result.lane,
        seq=result.seq,
        state=STATES[result.status],
        served=result.status is CallStatus.SERVED,
        reason=meaning_of(result.reason, language),
        record=[(name, _text(value)) for name, value in record.items()],
        units=result.units,
        amount=result.amount,
        receipt="0x" + result.receipt.hex(),
    )


def meaning_of(code: str, language: str) -> str:
    """What a code means, in the page's language; the code itself where it is not registered."""
    entry = error_codes().get(code)
    if entry is None:
        return code
    return entry.sentence.zh if language == CHINESE else entry.sentence.en


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
