"""The gateway: serves usage requests of other members, several in one exchange.

State of open agreements (lane heads, books, the asset's source and masking, the grant) is held in
memory, rebuilt from the database at first use, and moves only after the rows behind it are durable.
Each lane has a lock; requests of one exchange share one look at the chain, one trip to the sources
and one commit. What the house rules call the fixed order is in ``_Exchange``: place, withdraw,
authorise, reserve, query and mask, meter and price, receipt, commit, answer.

A receipt is written only for an answer that can be delivered: within this gateway's limit, in
canonical form, and with room in this exchange. What fits no more into the exchange takes no place
and is asked again.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from chain.context import Context
from chain.core import schema
from chain.core.canonical import dumps
from chain.core.crypto import keccak256, recover
from chain.core.database import PreparedStatement
from chain.core.errors import BadInput, Conflict, Forbidden, QiaolianError, Unavailable
from chain.ethereum.eip712 import domain_separator
from chain.ethereum.proved_records import ProvedRecords, StorageKey
from chain.keys.files import Secp256k1Signer
from chain.statements.commitment import commit_bytes, new_salt, opens
from chain.statements.trade import (
    Agreement,
    ReceiptVoid,
    RequestWithdrawal,
    UsageReceipt,
    UsageRequest,
    Voucher,
)
from exchange.agreements import service as agreements
from exchange.agreements.model import AgreementSide
from exchange.metering import consents, rules
from exchange.metering.activity import Activity
from exchange.metering.authorisation import (
    Rights,
    ShownConsent,
    authorise,
    records_of_consent,
    require_not_withdrawn,
    require_repeated,
)
from exchange.metering.model import (
    MAX_EXCHANGE_BYTES,
    REQUEST_DOMAIN,
    RESPONSE_DOMAIN,
    SUBJECT_UNKNOWN,
    WITHDRAWN,
    AgreementTotals,
    CallQuery,
    CallStatus,
    GatewayLimits,
    GrantQuota,
    LaneState,
    MeteredContent,
    ViewReference,
)
from exchange.metering.recovery import require_recovered
from exchange.metering.rules import PositionKind, UnknownSubjects
from exchange.metering.store import (
    ANSWERS,
    GATEWAY,
    call_at,
    is_final,
    lane_state_of,
    last_calls,
    store_answers,
    store_voucher,
    unknown_subject_times,
    voucher_row,
)
from registry.assets import incidents, serving
from registry.assets.rules import DriftKind, PublishedRecord, RecordDrift, SourceDrift
from registry.evidence.log import append, append_all
from registry.grants import service as grants

log = logging.getLogger("qiaolian.gateway")
POLICY_VERSION = 1
MAX_REQUESTS = 256
LIMITS = "gateway_limits"
"""The setting that holds a node's ``GatewayLimits``."""
CONTRACT = "TradeSettlement"
SOURCE_DRIFT = "source_drift"
_COUNTED = (CallStatus.SERVED, CallStatus.VOID)
"""What counts against a grant's ``max_uses``, beside ``subject_unknown``: a void takes back what is
owed, not that the answer left once.
"""


@dataclass
class GatewayLane:
    """One lane in memory."""

    head: LaneState = field(default_factory=LaneState)
    previous_head: LaneState = field(default_factory=LaneState)
    """The head before the last place: where the books fall back to when that is voided."""
    stored_answer: str | None = None
    """The last answer, word for word."""
    status: str = ""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class GatewayTrade:
    """One agreement in memory, with all that serving it needs."""

    agreement_id: bytes
    agreement: Agreement
    signer: Secp256k1Signer
    """The provider's key that the agreement pins."""
    rights: Rights
    served: serving.ServedVersion
    totals: AgreementTotals
    quota: GrantQuota
    """The grant's, shared by all its agreements."""
    unknown: UnknownSubjects
    """Likewise."""
    lanes: dict[int, GatewayLane]
    final: bool = False
    """Whether both sides signed the final totals: nothing more is served."""

    def lane(self, number: int) -> GatewayLane:
        """A lane, new if it was never used."""
        found = self.lanes.get(number)
        if found is None:
            found = self.lanes[number] = GatewayLane()
        return found


@dataclass
class PendingRequest:
    """One request of an exchange on its way to an answer."""

    request: UsageRequest
    request_hash: bytes
    signature: bytes
    committed: Mapping[str, Any]
    """The query that opens the request's commitment, in its JSON form."""
    salt: bytes
    package: Mapping[str, Any] | None
    """The consent package that came with it, in its JSON form."""
    withdrawal: tuple[RequestWithdrawal, bytes] | None
    """The buyer's withdrawal of the request and its signature."""
    trade: GatewayTrade
    lane: GatewayLane
    reserved: tuple[int, int] | None = None
    query: CallQuery | None = None
    """None until it was read, and where it cannot be."""
    consent: ShownConsent = None
    view_reference: ViewReference | None = None
    record: Mapping[str, Any] | None = None
    """The asked columns of the published record, masked."""
    drift: RecordDrift | None = None
    """How the source departs from what was published, where that is why it is refused."""
    refusal: str = ""
    repeated: bool = False
    """Whether its place was served already."""
    void: bool = False
    answer: Any = None
    """The finished answer; set early for what takes no place."""

    @property
    def answered(self) -> bool:
        """Whether nothing more is to be done for it."""
        return self.answer is not None


def gateway_limits(context: Context) -> GatewayLimits:
    """A node's own limits, the defaults where its settings have none."""
    limits: GatewayLimits = context.settings.get(LIMITS, GatewayLimits())
    return limits


class Gateway:
    """All trades of a node that serves. One for each running node; belongs to one event loop."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.separator = domain_separator(context.domain(CONTRACT))
        self._trades: dict[bytes, GatewayTrade] = {}
        self._quotas: dict[bytes, GrantQuota] = {}
        """By grant."""
        self._unknown: dict[bytes, UnknownSubjects] = {}
        """By grant."""
        self.limits = gateway_limits(context)
        self._loading = asyncio.Lock()

    @classmethod
    def of(cls, context: Context) -> Gateway:
        """The node's gateway."""
        gateway: Gateway | None = context.ports.get("exchange.gateway")
        if gateway is None:
            gateway = context.ports["exchange.gateway"] = cls(context)
        return gateway

    async def serve(self, caller: str, items: Sequence[Any]) -> list[Any]:
        """Serve requests of one member; an answer each, in order. Runs to its end even if the
        caller goes away.
        """
        if len(items) > MAX_REQUESTS:
            raise BadInput(
                "too_many_requests", f"At most {MAX_REQUESTS} requests go into one exchange."
            )
        return await asyncio.shield(asyncio.ensure_future(_Exchange(self, caller).run(items)))

    async def accept_voucher(self, caller: str, voucher: Voucher, signature: bytes) -> None:
        """Take a buyer's closing voucher of a lane and erase its stored answer."""
        trade = await self.trade(voucher.agreement_id)
        if trade.agreement.buyer != caller:
            raise Forbidden("not_buyer", "The voucher is not from the agreement's buyer.")
        if recover(self.digest(voucher.struct_hash()), signature) != trade.agreement.buyer_key:
            raise Forbidden(
                "wrong_signer", "The voucher is not signed by the key the agreement pins."
            )
        lane = trade.lane(voucher.lane)
        async with lane.lock:
            rules.require_voucher(trade.agreement, lane.head, voucher)
            row = voucher_row(voucher, signature)

            def change(session: Session) -> None:
                store_voucher(session, row)
                session.execute(
                    sa.delete(ANSWERS).where(
                        ANSWERS.c.agreement_id == voucher.agreement_id,
                        ANSWERS.c.lane == voucher.lane,
                    )
                )
                append(
                    session,
                    kind="Voucher",
                    digest=self.digest(voucher.struct_hash()),
                    at=self.context.now(),
                )

            await self.context.database.awrite(change)
            lane.stored_answer = None
        Activity.of(self.context).note([voucher.agreement_id])

    @asynccontextmanager
    async def paused(self, trade: GatewayTrade) -> AsyncIterator[dict[int, LaneState]]:
        """Hold every lane of an agreement, so that nothing is served until the block ends; the
        heads of the used ones.
        """
        async with AsyncExitStack() as stack:
            for number in range(trade.agreement.lanes):
                await stack.enter_async_context(trade.lane(number).lock)
            yield {
                number: lane.head for number, lane in sorted(trade.lanes.items()) if lane.head.seq
            }

    def digest(self, struct_hash: bytes) -> bytes:
        """What is signed of a statement of the settlement contract."""
        return keccak256(b"\x19\x01" + self.separator + struct_hash)

    async def trade(self, agreement_id: bytes) -> GatewayTrade:
        """An agreement this node provides under; ``unknown_agreement``, ``not_provider``,
        ``agreement_unrecovered``, ``pinned_key_not_held``."""
        found = self._trades.get(agreement_id)
        if found is not None:
            return found
        async with self._loading:
            found = self._trades.get(agreement_id)
            if found is None:
                found = await asyncio.to_thread(self._load, agreement_id)
                self._trades[agreement_id] = found
        return found

    def _load(self, agreement_id: bytes) -> GatewayTrade:
        signed = agreements.load(self.context, agreement_id)
        if signed.side != AgreementSide.PROVIDER or signed.terms is None:
            raise Forbidden("not_provider", "This node is not the agreement's provider.")
        agreement = signed.agreement
        with self.context.database.read() as session:
            require_recovered(session, agreement_id)
            final = is_final(session, agreement_id)
            lanes = {
                number: _lane(session, row)
                for number, row in last_calls(session, GATEWAY, agreement_id).items()
            }
            used = sa.or_(GATEWAY.c.status.in_(_COUNTED), GATEWAY.c.reason == SUBJECT_UNKNOWN)
            used_up = session.scalar(
                sa.select(sa.func.count()).where(GATEWAY.c.grant_id == agreement.grant_id, used)
            )
            unknown = self._unknown_subjects(session, agreement.grant_id)
        quota = self._quotas.setdefault(agreement.grant_id, GrantQuota(used_up or 0))
        totals = AgreementTotals(
            units=sum(lane.head.units for lane in lanes.values()),
            amount=sum(lane.head.amount for lane in lanes.values()),
        )
        served = serving.served_version(self.context, agreement.asset_id, agreement.asset_version)
        columns = grants.load(self.context, agreement.grant_id).columns
        rights = Rights(
            agreement_id, agreement, signed.terms, columns, served.masking, served.purposes
        )
        return GatewayTrade(
            agreement_id=agreement_id,
            agreement=agreement,
            signer=self.context.pinned_signer(agreement.provider_key),
            rights=rights,
            served=served,
            totals=totals,
            quota=quota,
            unknown=unknown,
            lanes=lanes,
            final=final,
        )

    def _unknown_subjects(self, session: Session, grant_id: bytes) -> UnknownSubjects:
        """A grant's refusals of unknown subjects: from the receipts at first use, so that a restart
        forgets none.
        """
        found = self._unknown.get(grant_id)
        if found is None:
            since = self.context.now() - self.limits.unknown_seconds
            times = unknown_subject_times(
                session, grant_id, since=since, limit=self.limits.unknown_subjects
            )
            found = self._unknown.setdefault(grant_id, UnknownSubjects.of(self.limits, times))
        return found


def _lane(session: Session, row: sa.Row[Any]) -> GatewayLane:
    head = lane_state_of(row)
    stored_answer = session.execute(
        sa.select(ANSWERS.c.answer, ANSWERS.c.seq).where(
            ANSWERS.c.agreement_id == row.agreement_id, ANSWERS.c.lane == row.lane
        )
    ).one_or_none()
    previous = call_at(session, GATEWAY, row.agreement_id, row.lane, row.seq - 1)
    return GatewayLane(
        head=head,
        previous_head=lane_state_of(previous) if previous is not None else LaneState(),
        stored_answer=stored_answer.answer
        if stored_answer is not None and stored_answer.seq == row.seq
        else None,
        status=row.status,
    )


class _Exchange:
    """One exchange: requests in, answers out, one commit."""

    def __init__(self, gateway: Gateway, caller: str) -> None:
        self._gateway = gateway
        self._context = gateway.context
        self._caller = caller
        self._now = gateway.context.now()
        self._locked_lanes: list[GatewayLane] = []
        self._bytes = 0
        """Size of the answers so far."""

    async def run(self, items: Sequence[Any]) -> list[Any]:
        entries = [await self._read(item) for item in items]
        pending_requests = [entry for entry in entries if isinstance(entry, PendingRequest)]
        try:
            await self._lock(pending_requests)
            self._assign_positions(pending_requests)
            self._withdraw(pending_requests)
            await self._authorise(pending_requests)
            self._reserve(pending_requests)
            await self._query(pending_requests)
            await self._issue_receipts(pending_requests)
        finally:
            for pending_request in pending_requests:
                self._release(pending_request)
            for lane in self._locked_lanes:
                lane.lock.release()
        return [entry.answer if isinstance(entry, PendingRequest) else entry for entry in entries]

    # --- reading ----------------------------------------------------------------------------------

    async def _read(self, item: Any) -> PendingRequest | dict[str, Any]:
        """Parse and check the signature. Nothing takes a place before this."""
        try:
            if not isinstance(item, dict):
                raise BadInput("request_malformed", "A request is not a JSON object.")
            request = UsageRequest.from_json(item.get("request"))
            signature, salt = _bytes(item.get("signature"), 65), _bytes(item.get("salt"), 32)
            trade = await self._gateway.trade(request.agreement_id)
            if trade.agreement.buyer != self._caller:
                raise Forbidden("not_buyer", "The request is not from the agreement's buyer.")
            request_hash = request.struct_hash()
            if recover(self._gateway.digest(request_hash), signature) != trade.agreement.buyer_key:
                raise Forbidden(
                    "wrong_signer", "The request is not signed by the key the agreement pins."
                )
            if request.lane >= trade.agreement.lanes:
                raise BadInput("wrong_lane", "The agreement has no such lane.")
            withdrawal = self._withdrawal(item, trade, request, request_hash)
            query, consent = item.get("query"), item.get("consent")
            if not isinstance(query, dict) or not opens(
                request.request_commitment, salt=salt, domain=REQUEST_DOMAIN, record=query
            ):
                raise BadInput("query_differs", "The query does not open the request's commitment.")
        except QiaolianError as error:
            return error_answer(error)
        except (ValueError, TypeError, RecursionError):
            return error_answer(BadInput("request_malformed", "A request cannot be read."))
        lane = trade.lane(request.lane)
        return PendingRequest(
            request, request_hash, signature, query, salt, consent, withdrawal, trade, lane
        )

    def _withdrawal(
        self,
        item: Mapping[str, Any],
        trade: GatewayTrade,
        request: UsageRequest,
        request_hash: bytes,
    ) -> tuple[RequestWithdrawal, bytes] | None:
        """The withdrawal that comes with a request, if one does; ``withdrawal_of_other``,
        ``wrong_signer``.
        """
        if item.get("withdrawal") is None:
            return None
        withdrawal, signature = (
            RequestWithdrawal.from_json(item["withdrawal"]),
            _bytes(item.get("withdrawalSignature"), 65),
        )
        rules.require_withdrawal(request, request_hash, withdrawal)
        if (
            recover(self._gateway.digest(withdrawal.struct_hash()), signature)
            != trade.agreement.buyer_key
        ):
            raise Forbidden(
                "wrong_signer", "The withdrawal is not signed by the key the agreement pins."
            )
        return withdrawal, signature

    async def _lock(self, pending_requests: list[PendingRequest]) -> None:
        """Hold every lane of the exchange, in one order for all exchanges so that none waits for
        another in a circle.
        """
        lanes: dict[tuple[bytes, int], GatewayLane] = {}
        for pending_request in pending_requests:
            key = (pending_request.request.agreement_id, pending_request.request.lane)
            if key in lanes:
                pending_request.answer = error_answer(
                    Conflict("lane_busy", "A lane takes one request at a time.")
                )
            lanes[key] = pending_request.lane
        for key in sorted(lanes):
            await lanes[key].lock.acquire()
            self._locked_lanes.append(lanes[key])

    def _assign_positions(self, pending_requests: list[PendingRequest]) -> None:
        """Next place, or the last one again; everything else is answered here and takes no place."""
        for request in _unanswered(pending_requests):
            lane = request.lane
            try:
                rules.require_not_final(request.trade.final)
                found = rules.position_kind(
                    request.trade.agreement, lane.head, request.request, request.request_hash
                )
                if found is PositionKind.NEXT:
                    rules.require_acknowledged(lane.head, request.request)
                elif lane.stored_answer is None:
                    raise Conflict(
                        "position_settled", "This place was acknowledged; its answer is gone."
                    )
                elif lane.status != CallStatus.SERVED:
                    self._repeat_stored(request)
                else:
                    request.repeated = True
            except QiaolianError as error:
                request.answer = error_answer(error)

    def _withdraw(self, pending_requests: list[PendingRequest]) -> None:
        """Refuse what its buyer withdrew and this gateway has not served. The chain has no say in
        it: a withdrawal works under an old view too.
        """
        for request in _unanswered(pending_requests):
            if request.withdrawal is None or request.repeated:
                continue
            try:
                head = self._context.view.head
            except Unavailable as error:
                request.answer = error_answer(error)
                continue
            request.view_reference = ViewReference(head.height, head.block_hash, POLICY_VERSION)
            request.refusal = WITHDRAWN

    def _repeat_stored(self, request: PendingRequest) -> None:
        """Give the stored answer again, if it still fits into this exchange."""
        assert request.lane.stored_answer is not None
        request.answer = (
            request.lane.stored_answer
            if self._fits(request.lane.stored_answer)
            else error_answer(_exchange_full())
        )

    def _fits(self, answer: str) -> bool:
        """Count an answer in; false where the exchange has no room for it. The first always has."""
        size = len(answer) if answer.isascii() else len(answer.encode())
        if self._bytes and self._bytes + size > MAX_EXCHANGE_BYTES:
            return False
        self._bytes += size
        return True

    # --- deciding ---------------------------------------------------------------------------------

    async def _authorise(self, pending_requests: list[PendingRequest]) -> None:
        """Whether each may be served now, by the proved view. An old view answers nothing and takes
        no place.
        """
        todo = [request for request in _unanswered(pending_requests) if not request.refusal]
        if not todo:
            return
        for request in todo:
            self._read_query(request)
        try:
            records = await self._context.view.aproved(
                record for request in _unanswered(todo) for record in _records(request)
            )
            stopped = await grants.astopped_grants(self._context)
        except Unavailable as error:
            for request in todo:
                request.answer = error_answer(error)
            return
        view_reference = ViewReference(records.height, records.block_hash, POLICY_VERSION)
        for request in _unanswered(todo):
            request.view_reference = view_reference
            (self._repeat if request.repeated else self._decide)(
                request, records, request.trade.agreement.grant_id in stopped
            )

    def _read_query(self, request: PendingRequest) -> None:
        """Read the query and check the consent by itself; a query that cannot be read is a refusal."""
        try:
            request.query = CallQuery.from_json(request.committed)
        except QiaolianError as error:
            if request.repeated:
                request.answer = error_answer(error)
            else:
                request.refusal = error.code[:31]
            return
        if request.trade.rights.purposes.needs_consent(request.query.purpose):
            request.consent = consents.shown(self._context, request.package)

    def _repeat(self, request: PendingRequest, records: ProvedRecords, stopped: bool) -> None:
        """The stored answer of a served place; its void only where a right was withdrawn since, or
        where no node accepts an answer of its size.

        What is sent wrong is an error and changes nothing. A withdrawal comes without the consent:
        the signed query names it.
        """
        assert request.query is not None
        assert request.lane.stored_answer is not None
        rights = request.trade.rights
        try:
            if request.withdrawal is None:
                require_repeated(request.query, request.package, purposes=rights.purposes)
        except QiaolianError as error:
            request.answer = error_answer(error)
            return
        try:
            require_not_withdrawn(rights, request.query, records, stopped=stopped)
        except Forbidden as error:
            request.void, request.refusal = True, error.code[:31]
            return
        if len(request.lane.stored_answer.encode()) > MAX_EXCHANGE_BYTES:
            request.void, request.refusal = True, "answer_too_large"
        else:
            self._repeat_stored(request)

    def _decide(self, request: PendingRequest, records: ProvedRecords, stopped: bool) -> None:
        """Whether a new place is served or refused."""
        if request.query is None:
            return
        trade = request.trade
        try:
            authorise(
                trade.rights,
                request.request,
                request.query,
                request.consent,
                records,
                unknown=trade.unknown,
                stopped=stopped,
                now=self._now,
            )
        except Unavailable as error:
            request.answer = error_answer(error)
        except QiaolianError as error:
            request.refusal = error.code[:31]

    def _reserve(self, pending_requests: list[PendingRequest]) -> None:
        for request in _to_be_served(pending_requests):
            trade = request.trade
            try:
                request.reserved = rules.reserve(
                    trade.agreement,
                    trade.totals,
                    trade.quota,
                    request.request,
                    max_uses=trade.rights.terms.max_uses,
                )
            except QiaolianError as error:
                request.refusal = error.code[:31]

    def _release(self, request: PendingRequest) -> None:
        if request.reserved is not None:
            rules.release(request.trade.totals, request.trade.quota, request.reserved)
            request.reserved = None

    # --- serving ----------------------------------------------------------------------------------

    async def _query(self, pending_requests: list[PendingRequest]) -> None:
        """Look every record up, in one trip to a thread: a source may be a file or a database."""
        todo = _to_be_served(pending_requests)
        if not todo:
            return

        await asyncio.to_thread(self._look_up, todo)
        self._limit_unknown(todo)

    def _look_up(self, requests: list[PendingRequest]) -> None:
        """Each request's masked record, once it is the one that was published. One that fails
        leaves the others alone.
        """
        try:
            published = self._published(requests)
        except Unavailable as error:
            for request in requests:
                request.answer = error_answer(error)
            return
        for request in requests:
            served, query = request.trade.served, request.query
            assert query is not None
            try:
                found = published[served.asset_id, served.asset_version].get(query.subject)
                request.record = served.answer(query.subject, query.columns, found)
            except Unavailable as error:
                request.answer = error_answer(error)
            except SourceDrift as error:
                request.refusal, request.drift = error.code, error.drift
            except QiaolianError as error:
                request.refusal = error.code[:31]
            except Exception as error:  # whatever a source or a rule raises for one record is that request's refusal
                log.error(
                    "source: unexpected %s",
                    type(error).__name__,
                    extra={"asset": "0x" + served.asset_id.hex()},
                )
                request.refusal, request.drift = SOURCE_DRIFT, RecordDrift(DriftKind.SOURCE_BROKEN)

    def _published(
        self, requests: Sequence[PendingRequest]
    ) -> dict[tuple[bytes, int], dict[str, PublishedRecord]]:
        """The published records asked for, by asset version and subject; one query for each
        version.
        """
        subjects: dict[tuple[bytes, int], list[str]] = {}
        for request in requests:
            served = request.trade.served
            assert request.query is not None
            subjects.setdefault((served.asset_id, served.asset_version), []).append(
                request.query.subject
            )
        return {
            version: serving.published_records(self._context, *version, wanted)
            for version, wanted in subjects.items()
        }

    def _limit_unknown(self, todo: Sequence[PendingRequest]) -> None:
        """Count unknown subjects. Once their limit is reached, what follows in this exchange is
        refused whether it is known or not: a refusal of the unknown ones alone would tell them.
        """
        for request in todo:
            if request.answered:
                continue
            unknown = request.trade.unknown
            try:
                unknown.require_below(self._now)
            except Forbidden as error:
                request.refusal = error.code
                continue
            if request.refusal == SUBJECT_UNKNOWN:
                unknown.add(self._now)

    def _delivery(self, request: PendingRequest) -> tuple[MeteredContent, int]:
        """Meter, price; a failure is the place's refusal.

        Raises:
            QiaolianError: what ``rules`` raise; BadInput: ``content_not_canonical`` for what JSON
                and RFC 8785 cannot hold: NaN, half a surrogate pair, a whole number beyond 2^53,
                bytes, a date.
        """
        assert request.record is not None
        assert request.reserved is not None
        agreement = request.trade.agreement
        content = {"record": request.record}
        try:
            canonical = dumps(content)
        except Exception as error:
            raise BadInput(
                "content_not_canonical", "The record has a value that cannot be committed to."
            ) from error
        rules.require_deliverable(canonical, self._gateway.limits)
        units = rules.units_of(agreement.unit, canonical)
        return MeteredContent(content, canonical, units), rules.price_of(
            agreement, units, reserved=request.reserved
        )

    async def _issue_receipts(self, pending_requests: list[PendingRequest]) -> None:
        """Write every receipt, make all durable in one commit, and only then move the books and
        answer.
        """
        written = [
            done
            for request in _unanswered(pending_requests)
            if (done := _issue_receipt(self, request)) is not None
        ]
        if not written:
            return
        receipts = [item for item in written if isinstance(item, IssuedReceipt)]
        withdrawals = [
            receipt.pending.withdrawal
            for receipt in receipts
            if receipt.pending.withdrawal is not None
        ]
        taken = [
            ("RequestWithdrawal", self._gateway.digest(statement.struct_hash()))
            for statement, _ in withdrawals
        ]
        voids = [item for item in written if isinstance(item, IssuedVoid)]
        drifts = _drifts(receipts)

        def change(session: Session) -> None:
            if receipts:
                _INSERT.execute(session, [receipt.row for receipt in receipts])
                store_answers(session, [receipt.stored_answer for receipt in receipts])
            for void in voids:
                _store_void(session, void)
            append_all(session, [(item.kind, item.digest) for item in written], at=self._now)
            incidents.record(session, drifts, at=self._now)
            if taken:
                append_all(session, taken, at=self._now)

        try:
            await self._context.database.awrite(change)
        except QiaolianError as error:
            for item in written:
                item.pending.answer = error_answer(error)
            return
        for item in written:
            item.apply()
        incidents.report(drifts)
        Activity.of(self._context).note({item.pending.trade.agreement_id for item in written})


def _records(request: PendingRequest) -> tuple[StorageKey, ...]:
    """The chain's records that the decision on a request needs."""
    if request.query is None:
        return request.trade.rights.records
    return (*request.trade.rights.records, *records_of_consent(request.query, request.consent))


def _drifts(receipts: Sequence[IssuedReceipt]) -> list[tuple[tuple[bytes, int], RecordDrift]]:
    """What the owner sees of the refusals among these receipts: the asset version, and how its
    source departs.
    """
    refused = [receipt.pending for receipt in receipts if receipt.pending.drift is not None]
    return [
        ((request.trade.served.asset_id, request.trade.served.asset_version), request.drift)
        for request in refused
        if request.drift
    ]


_INSERT = PreparedStatement(sa.insert(GATEWAY))


@dataclass
class IssuedReceipt:
    """A receipt ready to be stored, and what becomes true once it is."""

    pending: PendingRequest
    receipt: UsageReceipt
    receipt_hash: bytes
    digest: bytes
    row: dict[str, Any]
    answer: str
    kind: str = "UsageReceipt"

    @property
    def stored_answer(self) -> dict[str, Any]:
        """The row of the stored answer."""
        request = self.pending.request
        return {
            "agreement_id": request.agreement_id,
            "lane": request.lane,
            "seq": request.seq,
            "answer": self.answer,
        }

    def apply(self) -> None:
        """Move lane and books; the answer may leave."""
        pending_requests, receipt = self.pending, self.receipt
        lane, totals = pending_requests.lane, pending_requests.trade.totals
        lane.previous_head, lane.head = lane.head, rules.state_after(receipt, self.receipt_hash)
        lane.stored_answer, lane.status = self.answer, self.row["status"]
        totals.units += receipt.units
        totals.amount += receipt.amount
        if receipt.units or receipt.reason == SUBJECT_UNKNOWN:
            pending_requests.trade.quota.served += 1
        pending_requests.answer = self.answer


@dataclass
class IssuedVoid:
    """A void ready to be stored."""

    pending: PendingRequest
    void: ReceiptVoid
    digest: bytes
    signature: bytes
    answer: str
    kind: str = "ReceiptVoid"

    def apply(self) -> None:
        """Take the last place out of the books; its answer is gone."""
        pending_requests = self.pending
        lane, totals = pending_requests.lane, pending_requests.trade.totals
        totals.units -= lane.head.units - lane.previous_head.units
        totals.amount -= lane.head.amount - lane.previous_head.amount
        lane.head = rules.state_after_void(lane.previous_head, lane.head.receipt, lane.head.request)
        lane.stored_answer, lane.status = self.answer, CallStatus.VOID
        pending_requests.answer = self.answer


def _issue_receipt(
    exchange: _Exchange, request: PendingRequest
) -> IssuedReceipt | IssuedVoid | None:
    """What is to be stored for a request; None where its answer has no room in this exchange, which
    takes no place.
    """
    if request.void:
        return _issue_void(exchange, request)
    gateway, head = exchange._gateway, request.lane.head
    delivery, amount, salt, commitment = None, 0, b"", None
    if not request.refusal:
        try:
            delivery, amount = exchange._delivery(request)
            salt = new_salt()
            commitment = commit_bytes(salt, RESPONSE_DOMAIN, delivery.canonical)
        except QiaolianError as error:
            request.refusal, delivery, commitment = error.code[:31], None, None
    assert request.view_reference is not None
    receipt = rules.receipt_for(
        request.request,
        request.request_hash,
        head,
        request.view_reference,
        issued_at=exchange._now,
        reason=request.refusal,
        units=delivery.units if delivery else 0,
        amount=amount,
        **({"response_commitment": commitment} if commitment else {}),
    )
    receipt_hash = receipt.struct_hash()
    digest = gateway.digest(receipt_hash)
    signature = request.trade.signer.sign_digest(digest)
    receipt_json = receipt.to_json()
    answer = _dumps(
        {
            "content": delivery.content if delivery else None,
            "receipt": receipt_json,
            "salt": "0x" + salt.hex() if delivery else None,
            "signature": "0x" + signature.hex(),
        }
    )
    if not exchange._fits(answer):
        request.answer = error_answer(_exchange_full())
        return None
    withdrawal, withdrawal_signature = (
        request.withdrawal if request.withdrawal is not None else (None, None)
    )
    row = {
        "agreement_id": request.request.agreement_id,
        "lane": request.request.lane,
        "seq": request.request.seq,
        "status": CallStatus.REFUSED if request.refusal else CallStatus.SERVED,
        "reason": request.refusal,
        "request": _dumps(request.request.to_json()),
        "request_hash": request.request_hash,
        "request_signature": request.signature,
        "receipt": _dumps(receipt_json),
        "receipt_hash": receipt_hash,
        "receipt_signature": signature,
        "units": receipt.total_units,
        "amount": receipt.total_amount,
        "grant_id": request.trade.agreement.grant_id,
        "at": exchange._now,
        "withdrawal": None if withdrawal is None else _dumps(withdrawal.to_json()),
        "withdrawal_signature": withdrawal_signature,
    }
    return IssuedReceipt(request, receipt, receipt_hash, digest, row, answer)


def _issue_void(exchange: _Exchange, pending_request: PendingRequest) -> IssuedVoid:
    gateway, request = exchange._gateway, pending_request.request
    void = ReceiptVoid(
        version=1,
        agreement_id=request.agreement_id,
        lane=request.lane,
        seq=request.seq,
        receipt=pending_request.lane.head.receipt,
        reason=pending_request.refusal,
        issued_at=exchange._now,
    )
    digest = gateway.digest(void.struct_hash())
    signature = pending_request.trade.signer.sign_digest(digest)
    answer = _dumps({"signature": "0x" + signature.hex(), "void": void.to_json()})
    return IssuedVoid(pending_request, void, digest, signature, answer)


def _store_void(session: Session, voided: IssuedVoid) -> None:
    """Mark the place, and let its totals fall back to those before it."""
    request, before = voided.pending.request, voided.pending.lane.previous_head
    here = (GATEWAY.c.agreement_id == request.agreement_id, GATEWAY.c.lane == request.lane)
    session.execute(
        sa.update(GATEWAY)
        .where(*here, GATEWAY.c.seq == request.seq)
        .values(
            status=CallStatus.VOID,
            reason=voided.void.reason,
            units=before.units,
            amount=before.amount,
            void=_dumps(voided.void.to_json()),
            void_signature=voided.signature,
        )
    )
    stored_answer = {
        "agreement_id": request.agreement_id,
        "lane": request.lane,
        "seq": request.seq,
        "answer": voided.answer,
    }
    store_answers(session, [stored_answer])


def error_answer(error: QiaolianError) -> dict[str, Any]:
    """What a request that takes no place is answered: the error, so that the buyer's node can tell
    what may be repeated.
    """
    context = {
        name: value for name, value in error.context.items() if isinstance(value, str | int | bool)
    }
    return {
        "error": {
            "code": error.code,
            "detail": error.sentence,
            "status": error.status,
            "hint": error.hint,
            **context,
        }
    }


def _exchange_full() -> Unavailable:
    return Unavailable(
        "exchange_full",
        "The answers of one exchange have a limit, and this one has no room left.",
        hint="Send the same request again.",
    )


def _unanswered(pending_requests: Sequence[PendingRequest]) -> list[PendingRequest]:
    """Those not answered yet."""
    return [pending_request for pending_request in pending_requests if not pending_request.answered]


def _to_be_served(pending_requests: Sequence[PendingRequest]) -> list[PendingRequest]:
    """Those that are still to be served."""
    return [
        pending_request
        for pending_request in pending_requests
        if not pending_request.answered and not pending_request.refusal and not pending_request.void
    ]


def _bytes(value: Any, length: int) -> bytes:
    try:
        return schema.hex_bytes(value, length)
    except ValueError as error:
        raise BadInput(
            "field_malformed", "A field is not 0x hexadecimal of the right length."
        ) from error


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def encoded(answers: Sequence[Any]) -> bytes:
    """The exchange's answer body; answers that are kept word for word go in as they are."""
    parts = [answer if isinstance(answer, str) else _dumps(answer) for answer in answers]
    return ('{"answers":[' + ",".join(parts) + "]}").encode()


__all__ = ["LIMITS", "Gateway", "encoded", "error_answer", "gateway_limits"]
