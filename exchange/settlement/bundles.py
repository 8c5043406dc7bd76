"""Bundles of a trade, made at the provider: it holds both sides' signatures, and its own log has the receipts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.bundle import BundleBuilder
from chain.context import Context
from chain.crypto import keccak256
from chain.eip712 import domain_separator
from chain.errors import Conflict, Forbidden, NotFound
from chain.statements import Agreement, ReceiptVoid, UsageReceipt, UsageRequest, Voucher
from chain.words import LaneWord
from exchange.agreements import service as agreements
from exchange.agreements.model import Side, Signed
from exchange.metering.model import Ending
from exchange.metering.store import GATEWAY, VOUCHERS, place
from registry.evidence.service import INCARNATION, anchored_entry

CONTRACT = "TradeSettlement"


def trade_bundle(context: Context, agreement_id: bytes, lane: int, seq: int) -> bytes:
    """The bundle of one call.

    Raises:
        NotFound: ``place_unknown``; Conflict: ``not_acknowledged``, ``not_claimed``, ``entry_not_anchored`` while the story is not over.
    """
    signed = _provided(context, agreement_id)
    with context.database.read() as session:
        row = place(session, GATEWAY, agreement_id, lane, seq)
        if row is None or row.ending == Ending.VOID:
            raise NotFound("place_unknown", "The lane has no such place, or it was voided.")
        subject = {"agreementId": "0x" + agreement_id.hex(), "lane": lane, "seq": seq}
        bundle = _Bundle(context, signed, "trade", subject)
        bundle.place(row)
        if row.ending == Ending.SERVED:
            proved = LaneWord.decode(bundle.word(CONTRACT, "lanes", agreement_id, lane))
            _acknowledgement(bundle, session, agreement_id, lane, seq, proved)
    if row.ending == Ending.SERVED and signed.agreement.price:
        for share in signed.agreement.shares:
            bundle.word(CONTRACT, "paidTo", agreement_id, share.member)
    return bundle.build()


def lane_bundle(context: Context, agreement_id: bytes, lane: int) -> bytes:
    """The bundle of every call of a lane; ``place_unknown`` for a lane never used."""
    signed = _provided(context, agreement_id)
    bundle = _Bundle(context, signed, "lane", {"agreementId": "0x" + agreement_id.hex(), "lane": lane})
    with context.database.read() as session:
        query = sa.select(GATEWAY).where(GATEWAY.c.agreement_id == agreement_id, GATEWAY.c.lane == lane)
        rows = session.execute(query.order_by(GATEWAY.c.seq)).all()
        voucher = session.execute(
            sa.select(VOUCHERS).where(VOUCHERS.c.agreement_id == agreement_id, VOUCHERS.c.lane == lane)
        ).one_or_none()
    if not rows:
        raise NotFound("place_unknown", "The lane was never used.")
    for row in rows:
        bundle.place(row)
    if voucher is not None and voucher.seq == rows[-1].seq:
        bundle.builder.statement(Voucher.from_json(json.loads(voucher.voucher)), voucher.signature)
    bundle.word(CONTRACT, "lanes", agreement_id, lane)
    return bundle.build()


def _acknowledgement(
    bundle: _Bundle, session: Session, agreement_id: bytes, lane: int, seq: int, proved: LaneWord
) -> None:
    """Add the buyer's signature the chain's lane stands at; of a free trade, which claims nothing, the next one."""
    free = bundle.signed.agreement.price == 0
    if not free and proved.seq < seq:
        raise Conflict("not_claimed", "The call has not been claimed yet.", hint="Claim first, then export.")
    voucher = session.execute(
        sa.select(VOUCHERS).where(VOUCHERS.c.agreement_id == agreement_id, VOUCHERS.c.lane == lane)
    ).one_or_none()
    if voucher is not None and voucher.seq >= seq and (free or voucher.seq == proved.seq):
        bundle.builder.statement(Voucher.from_json(json.loads(voucher.voucher)), voucher.signature)
        return
    following = place(session, GATEWAY, agreement_id, lane, seq + 1 if free else proved.seq + 1)
    if following is None:
        raise Conflict("not_acknowledged", "The buyer has not acknowledged the call yet.")
    request = UsageRequest.from_json(json.loads(following.request))
    bundle.builder.statement(request, following.request_signature)


def _provided(context: Context, agreement_id: bytes) -> Signed:
    signed = agreements.load(context, agreement_id)
    if signed.side != Side.PROVIDER or signed.terms is None:
        raise Forbidden("not_provider", "Bundles of a trade are made at its provider.")
    return signed


class _Bundle:
    """A story of one agreement under construction. All that the chain shows is proved at one height."""

    def __init__(self, context: Context, signed: Signed, story: str, subject: dict[str, Any]) -> None:
        deployment = context.ledger.deployment
        self.context = context
        self.signed = signed
        self.builder = BundleBuilder(
            story=story,
            chain_id=deployment.chain_id,
            genesis_hash="0x" + deployment.genesis_hash.hex(),
            subject=subject,
        )
        self._height: int | None = None
        self._separator = domain_separator(context.domain(CONTRACT))
        self._log_key = False
        self._agreement(signed)

    def word(self, contract: str, variable: str, *keys: Any, offset: int = 0) -> int:
        """Add a proved word; its value."""
        proved = self.context.view.proof(contract, variable, *keys, offset=offset, height=self._height)
        self._height = proved.header.height
        self.builder.storage(proved.proof, proved.header.header_rlp)
        return proved.proof.value

    def place(self, row: Any) -> None:
        """Add a place: request, receipt with its log entry, and the void if there is one."""
        request = UsageRequest.from_json(json.loads(row.request))
        receipt = UsageReceipt.from_json(json.loads(row.receipt))
        self.builder.statement(request, row.request_signature)
        self.builder.statement(receipt, row.receipt_signature)
        self._entry(row.receipt_hash)
        if row.void is not None:
            self.builder.statement(ReceiptVoid.from_json(json.loads(row.void)), row.void_signature)

    def build(self) -> bytes:
        """The bundle's bytes."""
        return self.builder.build()

    def _agreement(self, signed: Signed) -> None:
        agreement: Agreement = signed.agreement
        assert signed.terms is not None
        for place_ in range(3):
            self.word(CONTRACT, "agreements", signed.agreement_id, offset=place_)
        self.word("GrantRegistry", "grants", agreement.grant_id)
        self.builder.struct(signed.terms)
        self.builder.statement(agreement, signed.provider_signature)
        self.builder.statement(agreement, signed.buyer_signature)
        for address in (agreement.provider_key, agreement.buyer_key):
            self._key(bytes.fromhex(address[2:]).rjust(32, b"\0"))
        self._key(self.context.log_signer.fingerprint)
        self._entry(signed.agreement_id)

    def _key(self, fingerprint: bytes) -> None:
        proved = self.context.view.proof("MemberDirectory", "keys", fingerprint, height=self._height)
        self.builder.key(fingerprint, proved.proof, proved.header.header_rlp)

    def _entry(self, struct_hash: bytes) -> None:
        """The provider's log entry of a statement of the settlement contract."""
        found = anchored_entry(self.context, keccak256(b"\x19\x01" + self._separator + struct_hash))
        proofs: Sequence[Any] = found.proofs
        self.builder.log_entry(
            member=self.context.member,
            incarnation=INCARNATION,
            key=self.context.log_signer.public_key,
            note=found.note,
            size=(proofs[0], found.header),
            root=(proofs[1], found.header),
            index=found.index,
            leaf=found.leaf,
            path=found.path,
        )
