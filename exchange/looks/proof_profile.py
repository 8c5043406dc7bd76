"""What the bundle of a look must show: who asked for a subject's record, for what, and the
provider's receipt of it. Pure: imports no web3, no database, no web framework.

Beside a call's proof (``exchange.proof_profile``) the request is opened, so that the subject, the
columns, the purpose and the consent it named are what the buyer signed. Whether the call was
acknowledged and paid is of no concern to the subject and is not part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chain.bundle.claims import VerifiedClaims
from chain.core.errors import Inconsistent
from chain.core.printable import quoted
from chain.statements.trade import UsageOutcome
from exchange.metering.model import REQUEST_DOMAIN
from exchange.proof_profile import CallProof, check_call

ANSWER_CLOSED = "What was answered is not opened: the receipt only commits to it."


def check(claims: VerifiedClaims, subject: Mapping[str, Any]) -> list[str]:
    """One look at a subject's record: subject {agreementId, lane, seq}."""
    call: CallProof = check_call(claims, subject)
    query = claims.disclosed(call.request.request_commitment, REQUEST_DOMAIN)
    if (
        not isinstance(query, Mapping)
        or not all(
            isinstance(query.get(name), kind)
            for name, kind in (
                ("subject", str),
                ("purpose", str),
                ("consent", str),
                ("columns", list),
            )
        )
        or not all(isinstance(column, str) for column in query["columns"])
    ):
        raise Inconsistent("query_unreadable", "What was asked is not a query of the protocol.")
    if query["purpose"] != call.agreement.purpose:
        raise Inconsistent("purpose_differs", "The query's purpose is not the agreement's.")
    columns = ", ".join(quoted(column) for column in query["columns"])
    asked = (
        f"{call.agreement.buyer} asked for {columns} of {quoted(query['subject'])}, "
        f"for {call.agreement.purpose}."
    )
    consent = (
        f"It named the subject's consent {quoted(query['consent'])}."
        if query["consent"]
        else "It named no consent of the subject."
    )
    claims.limits.append(ANSWER_CLOSED)
    outcome = (
        f"It was answered, for {call.receipt.units} units."
        if call.receipt.outcome == UsageOutcome.SERVED
        else f"It was refused ({call.receipt.reason}): nothing was delivered."
    )
    return [*call.sentences, asked, consent, outcome]
