"""What a gateway stops at when its own organisation's right ends: a receipt under an ended key
would prove nothing to the buyer.
"""

from __future__ import annotations

from chain.ethereum.eip712 import encode_code
from chain.statements.members import KeyPurpose
from exchange.closing import notice
from exchange.metering.model import CallStatus
from tests.exchange.conftest import Market


def test_a_gateway_whose_statement_key_has_ended_serves_nothing_and_what_it_delivered_is_still_paid(
    market: Market,
) -> None:
    market.offer()
    agreement_id = market.open(market.grant(), cap=10_000)
    served = market.call(agreement_id)
    assert served.status == CallStatus.SERVED
    key = market.department.context.signers[KeyPurpose.STATEMENT].fingerprint
    market.governance.execute("endKey", key, encode_code("retired"))
    market.settle()
    result = market.call(agreement_id)
    assert (result.status, result.reason, result.amount, result.content) == (
        CallStatus.REFUSED,
        "key_ended",
        0,
        None,
    )
    market.run(notice.acknowledge_all(market.bank.context, agreement_id))
    market.claim(agreement_id)
    assert market.department.context.ledger.settlement.lane(agreement_id, 0).amount == served.amount
