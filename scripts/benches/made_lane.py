"""Lane bundles of any length over a synthetic chain, to measure and to test colluding parties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from chain.bundle.builder import BundleBuilder
from chain.core.canonical import dumps
from chain.core.crypto import keccak256
from chain.ethereum.eip712 import ZERO32, Domain, Statement
from chain.keys.files import Secp256k1Signer
from chain.statements.grants import GrantTerms, Operation
from chain.statements.members import KeyPurpose
from chain.statements.trade import (
    Agreement,
    MeteredUnit,
    Share,
    UsageOutcome,
    UsageReceipt,
    UsageRequest,
    Voucher,
)
from exchange.metering.model import LaneState
from exchange.metering.rules import state_after
from scripts.benches.made_chain import (
    CHAIN_ID,
    CONTRACTS,
    FIRST_BLOCK_TIME,
    GENESIS,
    MadeChain,
    MadeLog,
)

PROVIDER, BUYER, ARBITER = "11440703QL0000004W", "11440703QL0000002N", "11440703QL0000003R"
OPENED_AT, VIEW_AT, ANCHORED_AT, HEAD_AT = 10, 50, 100, 120
Edit = Callable[[Any], Any]


def _same(statement: Any) -> Any:
    return statement


@dataclass
class MadeLane:
    """A synthetic lane; ``bundle`` builds its proof.

    ``shown`` cuts the bundle after that many positions. ``edit_receipt`` changes a receipt before
    both parties sign it or what follows from it.
    """

    calls: int
    price: int = 50
    shown: int | None = None
    closed: bool = True
    """Whether the buyer's closing voucher is shown."""
    revoked_at: int = 0
    notice_at: int = 0
    anchored_at: int = ANCHORED_AT
    claimed: int | None = None
    """Up to which position the chain has paid; all by default."""
    max_uses: int = 1_000_000
    edit_receipt: Edit = _same
    more_statements: list[tuple[Statement, Secp256k1Signer]] = field(default_factory=list)
    provider: Secp256k1Signer = field(
        default_factory=lambda: Secp256k1Signer(keccak256(b"provider"))
    )
    buyer: Secp256k1Signer = field(default_factory=lambda: Secp256k1Signer(keccak256(b"buyer")))

    def bundle(self) -> bytes:
        """The bundle's bytes."""
        terms = self._terms()
        self.agreement = self._agreement(terms)
        self.agreement_id = self.agreement.struct_hash()
        calls = self._calls()
        last = calls[(self.shown or self.calls) - 1][2]
        self.voucher = Voucher(
            1, self.agreement_id, 0, last.seq, last.units, last.amount, last.receipt
        )
        log, chain = MadeLog(PROVIDER), MadeChain()
        statements: list[tuple[Statement, Secp256k1Signer]] = [
            (self.agreement, self.provider),
            (self.agreement, self.buyer),
        ]
        entries = [log.append(self._leaf(self.agreement))]
        for request, receipt, _ in calls:
            index = log.append(self._leaf(receipt))
            if receipt.seq <= (self.shown or self.calls):
                statements += [(request, self.buyer), (receipt, self.provider)]
                entries.append(index)
        statements += [(self.voucher, self.buyer)] if self.closed else []
        self._set(chain, calls)
        log.anchor(chain, self.anchored_at)
        chain.seal(max(HEAD_AT, self.anchored_at, self.revoked_at))
        return self._told(chain, log, terms, [*statements, *self.more_statements], entries)

    def _terms(self) -> GrantTerms:
        operations = int(Operation.USE)
        period = (FIRST_BLOCK_TIME, FIRST_BLOCK_TIME + 10**6)
        return GrantTerms(
            1,
            b"\1" * 32,
            1,
            PROVIDER,
            BUYER,
            operations,
            "loan",
            "statistics",
            b"\2" * 32,
            *period,
            self.max_uses,
            b"\3" * 32,
        )

    def _agreement(self, terms: GrantTerms) -> Agreement:
        return Agreement(
            version=2,
            grant_id=terms.struct_hash(),
            asset_id=terms.asset_id,
            asset_version=1,
            provider=PROVIDER,
            buyer=BUYER,
            provider_key=self.provider.address,
            buyer_key=self.buyer.address,
            purpose=terms.purpose,
            unit=int(MeteredUnit.CALL),
            price=self.price,
            cap=self.price * 1_000_000,
            max_units=1_000_000,
            max_per_call=self.price,
            lanes=1,
            starts_at=terms.not_before,
            ends_at=terms.not_after,
            open_before=terms.not_after,
            close_window_blocks=10,
            close_window_seconds=10,
            arbiter=ARBITER,
            bond=0,
            bond_from_earnings=False,
            stake=0,
            shares=(Share(PROVIDER, 10_000),),
            nonce=b"\4" * 32,
        )

    def _calls(self) -> list[tuple[UsageRequest, UsageReceipt, LaneState]]:
        calls, head = [], LaneState()
        for seq in range(1, self.calls + 1):
            request = UsageRequest(
                1,
                self.agreement_id,
                0,
                seq,
                1,
                self.price,
                head.units,
                head.amount,
                head.receipt,
                keccak256(b"%d" % seq),
                2**40,
            )
            receipt = self.edit_receipt(self._receipt(request, head))
            head = state_after(receipt, receipt.struct_hash())
            calls.append((request, receipt, head))
        return calls

    def _receipt(self, request: UsageRequest, head: LaneState) -> UsageReceipt:
        return UsageReceipt(
            version=1,
            agreement_id=request.agreement_id,
            lane=0,
            seq=request.seq,
            request=request.struct_hash(),
            outcome=int(UsageOutcome.SERVED),
            reason="",
            response_commitment=request.request_commitment,
            units=1,
            amount=self.price,
            total_units=head.units + 1,
            total_amount=head.amount + self.price,
            previous_receipt=head.receipt,
            view_height=VIEW_AT,
            view_block=ZERO32,
            policy_version=1,
            issued_at=FIRST_BLOCK_TIME + VIEW_AT,
        )

    def _set(
        self, chain: MadeChain, calls: list[tuple[UsageRequest, UsageReceipt, LaneState]]
    ) -> None:
        for signer, member in ((self.provider, PROVIDER), (self.buyer, BUYER)):
            chain.put_key(signer.fingerprint, member, KeyPurpose.STATEMENT)
        chain.put(
            "GrantRegistry",
            "grants",
            self.agreement.grant_id,
            value=1 | 2 << 48 | self.revoked_at << 144,
        )
        claimed = self.calls if self.claimed is None else self.claimed
        paid = calls[claimed - 1][2] if claimed and self.price else LaneState()
        totals = (
            self.agreement.cap | paid.amount << 64 | paid.amount << 192,
            0,
            OPENED_AT | self.notice_at << 48,
        )
        for offset, value in enumerate(totals):
            chain.put(
                "TradeSettlement", "agreements", self.agreement_id, offset=offset, value=value
            )
        lane = paid.amount | paid.units << 128 | paid.seq << 192
        chain.put("TradeSettlement", "lanes", self.agreement_id, 0, value=lane)

    def _leaf(self, statement: Statement) -> bytes:
        digest = "0x" + statement.digest(self._domain(statement)).hex()
        return dumps({"at": FIRST_BLOCK_TIME, "digest": digest, "kind": type(statement).__name__})

    def _domain(self, statement: Statement) -> Domain:
        return Domain(CHAIN_ID, CONTRACTS[statement.contract])

    def _told(
        self,
        chain: MadeChain,
        log: MadeLog,
        terms: GrantTerms,
        statements: list[tuple[Statement, Secp256k1Signer]],
        entries: list[int],
    ) -> bytes:
        subject = {"agreementId": "0x" + self.agreement_id.hex(), "lane": 0}
        builder = BundleBuilder(
            profile="lane", chain_id=CHAIN_ID, genesis_hash=GENESIS, subject=subject
        )
        for fingerprint in (self.provider.fingerprint, self.buyer.fingerprint, log.key.fingerprint):
            builder.add_key(fingerprint, *chain.proof("MemberDirectory", "keys", fingerprint))
        builder.add_storage_value(*chain.proof("GrantRegistry", "grants", self.agreement.grant_id))
        for offset in range(3):
            builder.add_storage_value(
                *chain.proof("TradeSettlement", "agreements", self.agreement_id, offset=offset)
            )
        builder.add_storage_value(*chain.proof("TradeSettlement", "lanes", self.agreement_id, 0))
        builder.add_struct(terms)
        for statement, signer in statements:
            builder.add_statement(statement, signer.sign(statement, self._domain(statement)))
        note = log.note()
        size, root = (chain.proof("EvidenceLog", name, log.log_id) for name in ("logs", "roots"))
        for index in entries:
            builder.add_log_entry(
                member=PROVIDER,
                log_epoch=0,
                key=log.key.public_key,
                note=note,
                size=size,
                root=root,
                index=index,
                leaf=log.leaves[index],
                path=log.path(index),
            )
        return builder.build()


def viewed_at(height: int, *, issued_at: int = FIRST_BLOCK_TIME + VIEW_AT) -> Edit:
    """Receipts on a view of another block."""
    return lambda receipt: replace(receipt, view_height=height, issued_at=issued_at)
