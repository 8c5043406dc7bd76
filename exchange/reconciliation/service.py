"""Counting at the nodes, and the supervisor's report over all of them.

Each side's counts come with the other side's last signature of every lane, so that neither can lower what it owes nor raise what it is owed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from chain.context import Context
from chain.crypto import recover
from chain.eip712 import Statement
from chain.errors import BadInput, Conflict, Forbidden, QiaolianError
from chain.statements import Agreement, ReceiptVoid, UsageReceipt, UsageRequest, Voucher
from exchange.agreements import service as agreements
from exchange.agreements.model import Side
from exchange.metering.model import Ending
from exchange.metering.store import BUYER, GATEWAY, VOUCHERS, heads
from exchange.reconciliation.model import Compared, Count, Finding
from exchange.reconciliation.rules import compare

CONTRACT = "TradeSettlement"
_PROOFS: dict[str, type[Statement]] = {
    "request": UsageRequest,
    "receipt": UsageReceipt,
    "void": ReceiptVoid,
    "voucher": Voucher,
}


# --- At each side ----------------------------------------------------------------------------------------------------------------


def counters(context: Context, agreement_id: bytes, caller: str, *, supervisor: bool) -> dict[str, Any]:
    """This node's counts of an agreement's lanes, for the other party or a supervisor; ``not_party`` for anybody else."""
    signed = agreements.load(context, agreement_id)
    if not supervisor and caller not in (signed.agreement.provider, signed.agreement.buyer, context.member):
        raise Forbidden("not_party", "Counts are for the parties and supervisors.")
    if signed.side == Side.OBSERVER:
        raise Forbidden("not_party", "This node is no party of the agreement.")
    table = GATEWAY if signed.side == Side.PROVIDER else BUYER
    return {
        "side": signed.side,
        "lanes": {str(lane): told for lane, told in _counted(context, table, agreement_id).items()},
    }


def _counted(context: Context, table: sa.Table, agreement_id: bytes) -> dict[int, dict[str, Any]]:
    endings = (
        sa.select(table.c.lane, table.c.ending, sa.func.count()).where(table.c.agreement_id == agreement_id).group_by(table.c.lane, table.c.ending)
    )
    with context.database.read() as session:
        told: dict[int, dict[str, Any]] = {}
        for lane, row in heads(session, table, agreement_id).items():
            told[lane] = _told(row)
        for lane, ending, count in session.execute(endings):
            told[lane]["void_count" if ending == Ending.VOID else ending] = count
        for row in session.execute(sa.select(VOUCHERS).where(VOUCHERS.c.agreement_id == agreement_id)):
            if row.lane in told:
                told[row.lane]["voucher"] = {
                    "voucher": json.loads(row.voucher),
                    "signature": "0x" + row.signature.hex(),
                }
    return told


def _told(row: Any) -> dict[str, Any]:
    waiting = row.ending in (Ending.ASKED, Ending.CONFLICT)
    told: dict[str, Any] = {
        "seq": row.seq - waiting,
        "units": row.units,
        "amount": row.amount,
        "receiptHash": "0x" + (row.receipt_hash or b"").hex(),
        "outstanding": int(waiting),
        "request": _proof("request", row.request, row.request_signature),
    }
    if row.receipt is not None and row.void is None:
        told["receipt"] = _proof("receipt", row.receipt, row.receipt_signature)
    if row.void is not None:
        told["void"] = _proof("void", row.void, row.void_signature)
    return told


def _proof(name: str, text: str, signature: bytes) -> dict[str, Any]:
    return {name: json.loads(text), "signature": "0x" + signature.hex()}


# --- At the supervisor -----------------------------------------------------------------------------------------------------------


async def reconcile(context: Context, agreement_id: bytes) -> Compared:
    """Ask both nodes and the chain about one agreement."""
    agreement = agreements.load(context, agreement_id).agreement
    told: list[dict[int, Count] | None] = []
    contradicted: list[Finding] = []
    for side, member in (("provider", agreement.provider), ("buyer", agreement.buyer)):
        try:
            answer = await _ask(context, member, agreement_id)
        except QiaolianError:
            told.append(None)
            continue
        counts: dict[int, Count] = {}
        for lane, count in answer.items():
            try:
                counts[int(lane)] = _checked(context, agreement, count)
            except (QiaolianError, ValueError, KeyError, TypeError, AttributeError):
                sentence = f"The {side}'s count of the lane is not borne out by the signatures it shows."
                contradicted.append(Finding("conflict", sentence, int(lane) if lane.isdecimal() else None))
        told.append(counts)
    used = sorted({lane for counts in told if counts for lane in counts})
    claimed = {lane: context.ledger.settlement.lane(agreement_id, lane) for lane in used}
    return compare(agreement_id, told[0], told[1], claimed, contradicted)


async def report(context: Context, *, state: str | None = None) -> dict[str, Any]:
    """The report over every agreement on the chain: what was covered, where the counts part, the conservation lines."""
    height = context.ledger.height()
    compared = [
        await reconcile(context, bytes.fromhex(each["agreementId"][2:]))
        for each in agreements.listing(context, state=state, own=False)
        if each["openedAt"] is not None
    ]
    totals = context.ledger.settlement.totals()
    return {
        "height": height,
        "at": context.now(),
        "agreements": [
            {
                "agreementId": "0x" + each.agreement_id.hex(),
                "agree": each.agree,
                "lanes": {str(lane): told for lane, told in each.lanes.items()},
                "findings": [finding.to_json() for finding in each.findings],
            }
            for each in compared
        ],
        "covered": {
            "agreements": len(compared),
            "lanes": sum(len(each.lanes) for each in compared),
            "places": sum(told["gateway"]["seq"] for each in compared for told in each.lanes.values() if told["gateway"]),
        },
        "countersAgree": all(each.agree for each in compared),
        "conserved": totals.deposited == totals.withdrawn + totals.free + totals.locked,
    }


async def _ask(context: Context, member: str, agreement_id: bytes) -> dict[str, Any]:
    if member == context.member:
        answer: Any = counters(context, agreement_id, member, supervisor=False)
    else:
        answer = await context.peers.get(member, f"/v1/peer/agreements/0x{agreement_id.hex()}/counters")
    lanes = answer.get("lanes") if isinstance(answer, dict) else None
    if not isinstance(lanes, dict):
        raise BadInput("peer_bad_answer", "Counts are not a JSON object with lanes.")
    return lanes


def _checked(context: Context, agreement: Agreement, told: Mapping[str, Any]) -> Count:
    """A lane's count, borne out by the other side's signatures: the buyer's for what is owed, the provider's for what was delivered."""
    request = _verified(context, agreement.buyer_key, "request", told["request"])
    assert isinstance(request, UsageRequest)
    acknowledged = (request.seq - 1, request.acknowledged_amount)
    if "voucher" in told:
        voucher = _verified(context, agreement.buyer_key, "voucher", told["voucher"])
        assert isinstance(voucher, Voucher)
        acknowledged = max(acknowledged, (voucher.seq, voucher.acknowledged_amount))
    if "receipt" in told:
        receipt = _verified(context, agreement.provider_key, "receipt", told["receipt"])
        assert isinstance(receipt, UsageReceipt)
        if (receipt.seq, receipt.total_units, receipt.total_amount) != (told["seq"], told["units"], told["amount"]):
            raise Conflict("counts_differ", "A count is not what its receipt says.")
    elif "void" in told:
        _verified(context, agreement.provider_key, "void", told["void"])
    return Count(
        seq=told["seq"],
        units=told["units"],
        amount=told["amount"],
        acknowledged_seq=acknowledged[0],
        acknowledged_amount=acknowledged[1],
        served=told.get("served", 0),
        refused=told.get("refused", 0),
        voided=told.get("void_count", 0),
        places=told.get("served", 0) + told.get("refused", 0) + told.get("void_count", 0),
        outstanding=told["outstanding"],
        receipt=told["receiptHash"],
    )


def _verified(context: Context, key: str, name: str, told: Mapping[str, Any]) -> Statement:
    statement = _PROOFS[name].from_json(told[name])
    if recover(statement.digest(context.domain(CONTRACT)), bytes.fromhex(told["signature"][2:])) != key:
        raise Conflict("wrong_signer", "A count's proof is not signed by the key the agreement pins.")
    return statement
