"""Metered calls: for the organisation's own systems, and between nodes."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from chain.context import Context
from chain.core.error_codes import error_codes
from chain.core.errors import BadInput, Forbidden, QiaolianError
from chain.statements.trade import RequestWithdrawal, UsageRequest, Voucher
from exchange.metering import buyer_rules, history, service
from exchange.metering.gateway_state import gateway_limits
from exchange.metering.model import (
    CallResult,
    CallStatus,
)
from exchange.metering.schemas import (
    BatchAnswer,
    BatchBody,
    BatchCall,
    CallAnswer,
    CallBody,
    CallList,
    CallRow,
    FailedLine,
    PeerCallAnswers,
    PositionAnswer,
    PositionsAnswer,
    StreamCall,
    StreamedCall,
    StreamEnd,
    UnknownSubjectList,
    UnknownSubjectRow,
    VouchersAnswer,
    failed_call,
    signed_answer,
)
from exchange.metering.stream import MEDIA_TYPE, CallStream, ClientGone, open_stream
from exchange.metering.wire import answers_body
from registry.access import (
    NonNegativeInt,
    Principal,
    act_change,
    field,
    get_context,
    hex_bytes,
    hex_field,
    page_request,
    require_local,
    require_member,
    strict_json,
)
from registry.openapi import LARGE_BODY, SALT, SIGNATURE, STREAMED_BODY, lines_of, strict_body
from registry.pages import PageRequest, page_by_id

router = APIRouter(tags=["calls"])
_system = require_local("system")
_readers = require_local("clerk", "system", "officer", "auditor", "administrator")
Key = Annotated[str, Path(min_length=1, max_length=200)]

MAX_CONCURRENT = 64
_QUERY = {
    "columns": ["Seniority"],
    "consent": "",
    "operation": "use",
    "purpose": "statistics",
    "subject": "92440700MA4WTEYT1T",
}
_ITEM: dict[str, Any] = {
    "request": UsageRequest,
    "signature": SIGNATURE,
    "salt": SALT,
    "query": _QUERY,
    "consent": None,
}
_WITHDRAWN: dict[str, Any] = {
    **_ITEM,
    "withdrawal": RequestWithdrawal,
    "withdrawalSignature": SIGNATURE,
}


@router.post(
    "/v1/calls",
    summary="Make a metered call",
    responses={
        200: {
            "model": CallAnswer,
            "content": {
                "application/json": {
                    "example": {
                        "idempotencyKey": "order-117/1",
                        "agreementId": "0x" + "33" * 32,
                        "lane": 0,
                        "seq": 17,
                        "outcome": "served",
                        "reason": "",
                        "record": {"Seniority": "10-19", "Job": "fixed"},
                        "units": 1,
                        "amount": 50,
                        "receipt": "0x" + "55" * 32,
                    }
                }
            },
        },
        403: {"description": "Refused by the provider (unbilled) or not allowed; `code` says why."},
        503: {
            "description": "`call_outstanding`: the request is stored and "
            "unanswered; `idempotencyKey` names it, "
            "`cause` says why. `lane_blocked` and others: nothing was asked."
        },
    },
)
async def call(
    request: Request,
    body: CallBody,
    _caller: Principal = Depends(_system),
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> Response:
    context = await get_context(request)
    result = await service.call(
        context,
        hex_bytes(body.agreementId),
        body.query(),
        idempotency_key=idempotency_key,
        along=act_change(request),
    )
    if result.status != CallStatus.SERVED:
        raise _refused(result)
    return _json(result.to_json())


@router.post(
    "/v1/calls/batch",
    summary="Make several metered calls; each ends on its own",
    openapi_extra=LARGE_BODY,
    responses={200: {"model": BatchAnswer}},
)
async def batch(
    request: Request, body: BatchBody, _caller: Principal = Depends(_system)
) -> Response:
    context = await get_context(request)
    gate = asyncio.Semaphore(MAX_CONCURRENT)

    async def one(item: BatchCall) -> dict[str, Any]:
        async with gate:
            try:
                agreement_id = hex_bytes(item.agreementId)
                result = await service.call(
                    context, agreement_id, item.query(), idempotency_key=item.key
                )
            except QiaolianError as error:
                return failed_call(item, error)
        return result.to_json()

    return _json({"results": await asyncio.gather(*(one(item) for item in body.calls))})


class _Lines(Response):
    media_type = MEDIA_TYPE


class _StreamResponse(_Lines):
    """Sends results while the request is still being read."""

    def __init__(self, calls: CallStream) -> None:
        super().__init__(headers={"connection": "close"})
        del self.headers["content-length"]
        self._calls = calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        head = {"status": 200, "headers": self.raw_headers}
        await send({"type": "http.response.start", **head})
        async with aclosing(self._calls.results()) as results:
            async for line in results:
                await send({"type": "http.response.body", "body": line, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@router.post(
    "/v1/calls/stream",
    summary="Make metered calls from a file: a line of JSON each, results as they are complete",
    description="The request has a call in each line, with its own `key`; the answer has a result "
    "for each, with the number of its `line`, in the order of completion, and ends with a line "
    "that has `end`. Read the results while you send: a client that does not is not read from. "
    "After a broken connection send the lines again: a key counts once.",
    openapi_extra={**lines_of(StreamCall), **STREAMED_BODY},
    responses={
        200: {
            "description": "A result in each line, then `StreamEnd`.",
            "model": StreamedCall | FailedLine | StreamEnd,
        }
    },
    response_class=_Lines,
)
async def stream(request: Request, _caller: Principal = Depends(_system)) -> Response:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise BadInput(
            "content_type_wrong",
            "A stream of calls is a line of JSON for each.",
            hint=f"Send it as {MEDIA_TYPE}.",
        )
    parts = request.stream()

    async def read() -> bytes | None:
        try:
            return await anext(parts, None)
        except ClientDisconnect as error:
            raise ClientGone from error

    return _StreamResponse(open_stream(await get_context(request), read))


@router.get(
    "/v1/calls",
    summary="Stored calls, the newest first: keys and outcomes, no content",
    response_model=CallList,
)
def calls(
    agreementId: str | None = None,
    outcome: Annotated[
        str | None, Query(pattern="^(outstanding|served|refused|void|conflict)$")
    ] = None,
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(_system),
) -> CallList:
    agreement_id = None if agreementId is None else hex_bytes(agreementId)
    found = service.calls(context, page, agreement_id=agreement_id, outcome=outcome)
    return CallList(calls=[CallRow.of(call) for call in found.rows], next=found.next)


@router.get(
    "/v1/calls/{key:path}",
    summary="The result of the call under a key; an unanswered request is sent again",
    responses={
        200: {"model": CallAnswer},
        404: {"description": "`call_unknown`"},
        503: {"description": "`call_outstanding`: still unanswered."},
    },
)
async def fetch(request: Request, key: Key, _caller: Principal = Depends(_system)) -> Response:
    return _json((await service.fetch(await get_context(request), key)).to_json())


@router.post(
    "/v1/calls/{key:path}/withdraw",
    summary="Withdraw an unanswered request: ends unbilled, or "
    "with the answer if it was served before",
    responses={
        200: {"model": CallAnswer},
        404: {"description": "`call_unknown`"},
        503: {"description": "`call_outstanding`: the withdrawal is stored and unanswered."},
    },
)
async def withdraw(request: Request, key: Key, _caller: Principal = Depends(_system)) -> Response:
    return _json((await service.withdraw(await get_context(request), key)).to_json())


@router.get(
    "/v1/unknown-subjects", summary="Grants under which unknown subjects were asked for (provider)"
)
def unknown_subjects(
    page: PageRequest = Depends(page_request),
    context: Context = Depends(get_context),
    _caller: Principal = Depends(_readers),
) -> UnknownSubjectList:
    limits = gateway_limits(context)
    found = page_by_id(service.unknown_subjects(context), lambda row: row.grant_id, page)
    return UnknownSubjectList(
        limit=limits.unknown_subjects,
        seconds=limits.unknown_seconds,
        grants=[UnknownSubjectRow.of(row) for row in found.rows],
        next=found.next,
    )


@router.post(
    "/v1/peer/calls",
    summary="Usage requests of another member's node",
    openapi_extra=strict_body(requests=[_ITEM, _WITHDRAWN]) | LARGE_BODY,
    responses={200: {"model": PeerCallAnswers}},
)
async def serve(request: Request) -> Response:
    # Read without the framework's dependency, which costs as much as both signatures.
    context, caller = await get_context(request), await require_member(request)
    items = field(await strict_json(request), "requests", list)
    return Response(
        answers_body(await service.serve(context, caller.member, items)),
        media_type="application/json",
    )


@router.post(
    "/v1/peer/vouchers",
    summary="A buyer's closing vouchers",
    openapi_extra=strict_body(vouchers=[{"voucher": Voucher, "signature": SIGNATURE}]) | LARGE_BODY,
    response_model=VouchersAnswer,
)
async def vouchers(
    request: Request,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> VouchersAnswer:
    body = await strict_json(request)
    items = field(body, "vouchers", list)
    for item in items:
        voucher = Voucher.from_json(field(item, "voucher", dict))
        await service.accept_voucher(
            context, caller.member, voucher, hex_field(item, "signature", length=65)
        )
    return VouchersAnswer(taken=len(items))


@router.get(
    "/v1/peer/agreements/{agreement_id}/positions",
    summary="A lane's positions after one, for the other party that lost them",
    response_model=PositionsAnswer,
)
def positions(
    agreement_id: str,
    lane: NonNegativeInt,
    after: NonNegativeInt,
    context: Context = Depends(get_context),
    caller: Principal = Depends(require_member),
) -> PositionsAnswer:
    calls, voucher = history.positions(context, caller.member, hex_bytes(agreement_id), lane, after)
    return PositionsAnswer(
        positions=[PositionAnswer.of(call) for call in calls],
        voucher=None if voucher is None else signed_answer(voucher.voucher, voucher.signature),
    )


def _refused(result: CallResult) -> Forbidden:
    meaning = error_codes().get(result.reason)
    hint = buyer_rules.refusal_hint(result.reason) or (meaning.next_step.en if meaning else "")
    sentence = "The provider refused the call; it costs nothing."
    if meaning is not None:
        sentence = f"The provider refused the call, which costs nothing: {meaning.sentence.en}"
    if result.status == CallStatus.VOID:
        sentence = "The right was revoked before the answer arrived; the call costs nothing."
    if result.reason == "answer_too_large":
        sentence = "The answer is larger than can be delivered; the call costs nothing."
    named = result.to_json()
    reported = {name: named[name] for name in ("idempotencyKey", "lane", "seq", "receipt")}
    return Forbidden(result.reason, sentence, hint=hint, **reported)


def _json(value: Any) -> Response:
    return Response(
        json.dumps(value, ensure_ascii=False, separators=(",", ":")), media_type="application/json"
    )
