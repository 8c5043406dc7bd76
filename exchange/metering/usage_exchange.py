"""The path of usage requests through the gateway, several in one exchange.

``UsageExchange.run`` names the steps: position, withdrawal, authorisation, reservation, query and
masking, metering and pricing, receipt, commit, answer. The requests of one exchange share one check
of the chain, one thread for the sources and one commit.

A receipt is issued only for an answer that can be delivered: within the gateway's limit, in
canonical form, and with space left in the exchange. A request whose answer no longer fits takes no
position and is sent again by its buyer.

Beside it: ``pending`` (a request on its way), ``source_query`` (records), ``receipts`` (issue,
store, apply), ``rules`` and ``gateway_rules`` (pure).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from chain.core.canonical import dumps
from chain.core.errors import BadInput, Conflict, Forbidden, QiaolianError, Unavailable
from chain.ethereum.proved_records import ProvedRecords, StorageKey
from exchange.metering import consents, gateway_rules, rules
from exchange.metering.activity import Activity
from exchange.metering.authorisation import (
    authorise,
    records_of_consent,
    require_not_withdrawn,
    require_repeated,
)
from exchange.metering.digests import Digest
from exchange.metering.gateway_state import GatewayLane, GatewayState
from exchange.metering.model import (
    MAX_EXCHANGE_BYTES,
    SUBJECT_UNKNOWN,
    WITHDRAWN,
    CallQuery,
    CallStatus,
    MeteredContent,
    ViewReference,
)
from exchange.metering.pending import (
    PendingRequest,
    parse_item,
    read_request,
    to_be_served,
    unanswered,
)
from exchange.metering.receipts import Issued, drifts, issue, store_issued
from exchange.metering.rules import PositionKind
from exchange.metering.source_query import query_and_mask
from exchange.metering.wire import ErrorAnswer, error_answer
from registry.assets import incidents
from registry.grants import service as grants

POLICY_VERSION = 1


class UsageExchange:
    """One exchange: requests in, answers out, one commit."""

    def __init__(self, state: GatewayState, digest: Digest, caller: str) -> None:
        self._state = state
        self._context = state.context
        self._digest = digest
        self._caller = caller
        self._now = state.context.now()
        self._locked_lanes: list[GatewayLane] = []
        self._bytes = 0
        """Size of the answers so far."""

    async def run(self, items: Sequence[Any]) -> list[Any]:
        """The path of every request; what a step answers or refuses, the next steps skip."""
        entries = [await self._read(item) for item in items]
        requests = [entry for entry in entries if isinstance(entry, PendingRequest)]
        try:
            await self._lock_lanes(requests)
            self._check_positions(requests)
            self._refuse_withdrawn(requests)
            await self._authorise(requests)
            self._reserve(requests)
            await self._query_and_mask(requests)
            self._meter_and_price(requests)
            await self._commit(self._issue_receipts(requests))
        finally:
            self._release(requests)
        return [entry.answer if isinstance(entry, PendingRequest) else entry for entry in entries]

    # --- read and lock ----------------------------------------------------------------------------

    async def _read(self, item: Any) -> PendingRequest | ErrorAnswer:
        """Parse an item and check its signatures; no request takes a position before this."""
        try:
            parsed = parse_item(item)
            trade = await self._state.trade(parsed.request.agreement_id)
            return read_request(parsed, trade, caller=self._caller, digest=self._digest)
        except QiaolianError as error:
            return error_answer(error)
        except (ValueError, TypeError, RecursionError):
            return error_answer(BadInput("request_malformed", "A request cannot be read."))

    async def _lock_lanes(self, requests: Sequence[PendingRequest]) -> None:
        """Lock every lane of the exchange, in one order for all exchanges to avoid a deadlock."""
        lanes: dict[tuple[bytes, int], GatewayLane] = {}
        for request in requests:
            key = (request.request.agreement_id, request.request.lane)
            if key in lanes:
                request.fail(Conflict("lane_busy", "A lane takes one request at a time."))
            lanes[key] = request.lane
        for key in sorted(lanes):
            await lanes[key].lock.acquire()
            self._locked_lanes.append(lanes[key])

    # --- position and withdrawal ------------------------------------------------------------------

    def _check_positions(self, requests: Sequence[PendingRequest]) -> None:
        """Accept the lane's next position or a repetition of the last; answer all else with an
        error.
        """
        for request in unanswered(requests):
            try:
                self._check_position(request)
            except QiaolianError as error:
                request.fail(error)

    def _check_position(self, request: PendingRequest) -> None:
        trade, lane = request.trade, request.lane
        rules.require_not_final(trade.final)
        kind = rules.position_kind(
            trade.agreement, lane.state, request.request, request.request_hash
        )
        if kind is PositionKind.NEXT:
            rules.require_acknowledged(lane.state, request.request)
        elif lane.stored_answer is None:
            raise Conflict(
                "position_settled", "The position was acknowledged; its answer is no longer stored."
            )
        elif lane.status != CallStatus.SERVED:
            self._repeat_stored(request)
        else:
            request.repeated = True

    def _repeat_stored(self, request: PendingRequest) -> None:
        """Answer with the stored answer, if it fits into this exchange."""
        answer = request.lane.stored_answer
        assert answer is not None
        if self._fits(answer):
            request.answer = answer
        else:
            request.fail(_exchange_full())

    def _fits(self, answer: str) -> bool:
        """Count an answer in; False if the exchange has no space left. The first always fits."""
        size = len(answer) if answer.isascii() else len(answer.encode())
        if self._bytes and self._bytes + size > MAX_EXCHANGE_BYTES:
            return False
        self._bytes += size
        return True

    def _refuse_withdrawn(self, requests: Sequence[PendingRequest]) -> None:
        """Refuse requests that their buyer withdrew and that were not served. This does not depend
        on the chain: a withdrawal is accepted under an old view too.
        """
        for request in unanswered(requests):
            if request.withdrawal is None or request.repeated:
                continue
            try:
                head = self._context.view.head
            except Unavailable as error:
                request.fail(error)
                continue
            request.view_reference = ViewReference(head.height, head.block_hash, POLICY_VERSION)
            request.refusal = WITHDRAWN

    # --- authorise --------------------------------------------------------------------------------

    async def _authorise(self, requests: Sequence[PendingRequest]) -> None:
        """Decide by the proved view whether each request may be served now. If the view is too old,
        the requests are answered with that error and take no position.
        """
        undecided = [request for request in unanswered(requests) if not request.refusal]
        if not undecided:
            return
        for request in undecided:
            self._read_query(request)
        try:
            records = await self._context.view.aproved(
                record for request in unanswered(undecided) for record in _records(request)
            )
            stopped = await grants.astopped_grants(self._context)
        except Unavailable as error:
            for request in undecided:
                request.fail(error)
            return
        view_reference = ViewReference(records.height, records.block_hash, POLICY_VERSION)
        for request in unanswered(undecided):
            request.view_reference = view_reference
            is_stopped = request.trade.agreement.grant_id in stopped
            if request.repeated:
                self._repeat(request, records, stopped=is_stopped)
            else:
                self._decide(request, records, stopped=is_stopped)

    def _read_query(self, request: PendingRequest) -> None:
        """Read the query and its consent; a query that cannot be read is refused."""
        try:
            request.query = CallQuery.from_json(request.query_json)
        except QiaolianError as error:
            if request.repeated:
                request.fail(error)
            else:
                request.refuse(error)
            return
        if request.trade.rights.purposes.needs_consent(request.query.purpose):
            request.consent = consents.shown(self._context, request.consent_json)

    def _decide(self, request: PendingRequest, records: ProvedRecords, *, stopped: bool) -> None:
        """Authorise or refuse a new position."""
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
            request.fail(error)
        except QiaolianError as error:
            request.refuse(error)

    def _repeat(self, request: PendingRequest, records: ProvedRecords, *, stopped: bool) -> None:
        """Answer a repeated request with the stored answer. The receipt is voided only if a right
        was withdrawn since, or if the answer is too large for any node to accept.

        A repetition that differs from the first request is an error and changes nothing. A
        withdrawal is sent without the consent, which the signed query names.
        """
        assert request.query is not None
        assert request.lane.stored_answer is not None
        rights = request.trade.rights
        try:
            if request.withdrawal is None:
                require_repeated(request.query, request.consent_json, purposes=rights.purposes)
        except QiaolianError as error:
            request.fail(error)
            return
        try:
            require_not_withdrawn(rights, request.query, records, stopped=stopped)
        except (Conflict, Forbidden) as error:
            request.void = True
            request.refuse(error)
            return
        if len(request.lane.stored_answer.encode()) > MAX_EXCHANGE_BYTES:
            request.void, request.refusal = True, "answer_too_large"
        else:
            self._repeat_stored(request)

    # --- reserve, query, meter --------------------------------------------------------------------

    def _reserve(self, requests: Sequence[PendingRequest]) -> None:
        """Reserve each request's maximum against the caps, and one use of the grant."""
        for request in to_be_served(requests):
            trade = request.trade
            try:
                request.reserved = gateway_rules.reserve(
                    trade.agreement,
                    trade.totals,
                    trade.quota,
                    request.request,
                    max_uses=trade.rights.terms.max_uses,
                )
            except QiaolianError as error:
                request.refuse(error)

    async def _query_and_mask(self, requests: Sequence[PendingRequest]) -> None:
        """Look up and mask all records in one thread, then count unknown subjects."""
        authorised = to_be_served(requests)
        if not authorised:
            return
        await asyncio.to_thread(query_and_mask, self._context, authorised)
        self._limit_unknown(authorised)

    def _limit_unknown(self, requests: Sequence[PendingRequest]) -> None:
        """Count unknown subjects. Once the limit is reached, the rest of the exchange is refused,
        known subjects included: refusing only the unknown ones would reveal which they are.
        """
        for request in unanswered(requests):
            unknown = request.trade.unknown
            try:
                unknown.require_below(self._now)
            except Forbidden as error:
                request.refuse(error)
                continue
            if request.refusal == SUBJECT_UNKNOWN:
                unknown.add(self._now)

    def _meter_and_price(self, requests: Sequence[PendingRequest]) -> None:
        """Meter and price each record; a failure refuses the request."""
        for request in to_be_served(requests):
            try:
                request.metered, request.amount = self._metered(request)
            except QiaolianError as error:
                request.refuse(error)

    def _metered(self, request: PendingRequest) -> tuple[MeteredContent, int]:
        """The metered content and its price in fen.

        Raises:
            QiaolianError: what ``rules`` raise; BadInput: ``content_not_canonical`` for what JSON
                and RFC 8785 cannot represent: NaN, an unpaired surrogate, an integer beyond 2^53,
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
        gateway_rules.require_deliverable(canonical, self._state.limits)
        units = gateway_rules.units_of(agreement.unit, canonical)
        amount = gateway_rules.price_of(agreement, units, reserved=request.reserved)
        return MeteredContent(content, canonical, units), amount

    # --- receipt, commit, answer ------------------------------------------------------------------

    def _issue_receipts(self, requests: Sequence[PendingRequest]) -> list[Issued]:
        """Sign a receipt or void for each request whose answer still fits into the exchange."""
        issued = []
        for request in unanswered(requests):
            item = issue(request, digest=self._digest, now=self._now)
            if request.void or self._fits(item.answer):
                issued.append(item)
            else:
                request.fail(_exchange_full())
        return issued

    async def _commit(self, issued: Sequence[Issued]) -> None:
        """Store all receipts in one commit; only then update the state in memory and answer."""
        if not issued:
            return
        try:
            await self._context.database.awrite(
                lambda session: store_issued(session, issued, digest=self._digest, at=self._now),
                routine=True,
            )
        except QiaolianError as error:
            for item in issued:
                item.pending.fail(error)
            return
        for item in issued:
            item.apply()
        incidents.report(drifts(issued))
        Activity.of(self._context).note({item.pending.trade.agreement_id for item in issued})

    def _release(self, requests: Sequence[PendingRequest]) -> None:
        """Release the reservations and the lanes."""
        for request in requests:
            if request.reserved is not None:
                gateway_rules.release(request.trade.totals, request.trade.quota, request.reserved)
                request.reserved = None
        for lane in self._locked_lanes:
            lane.lock.release()


def _records(request: PendingRequest) -> tuple[StorageKey, ...]:
    """The on-chain records that the decision on a request needs."""
    if request.query is None:
        return request.trade.rights.records
    return (*request.trade.rights.records, *records_of_consent(request.query, request.consent))


def _exchange_full() -> Unavailable:
    return Unavailable(
        "exchange_full",
        "The answers of one exchange have a limit, and this one has no room left.",
        hint="Send the same request again.",
    )
