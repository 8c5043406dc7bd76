"""What a gateway stops at once when somebody's right ends: the buyer's membership, its key, the
asset.
"""

from __future__ import annotations

import pytest

from chain.ethereum.eip712 import encode_code
from chain.ethereum.ledger import Reverted
from chain.statements.members import KeyPurpose
from exchange.closing import notice
from exchange.metering.model import CallStatus
from exchange.settlement import deposits
from registry.assets import status
from tests.exchange.conftest import Market


@pytest.fixture(scope="module")
def agreement_id(market: Market) -> bytes:
    market.offer()
    found: bytes = market.open(market.grant(), cap=10_000)
    return found


def refused(market: Market, agreement_id: bytes) -> str:
    """The reason of a refused call, which costs nothing."""
    result = market.call(agreement_id)
    assert (result.status, result.amount, result.content) == (CallStatus.REFUSED, 0, None)
    reason: str = result.reason
    return reason


def test_a_suspended_buyer_is_served_nothing_until_it_is_lifted(
    market: Market, agreement_id: bytes
) -> None:
    assert market.call(agreement_id).status == CallStatus.SERVED
    market.governance.execute("suspend", market.bank.member, encode_code("unpaid"))
    market.settle()
    assert refused(market, agreement_id) == "not_active"
    market.governance.execute("lift", market.bank.member)
    market.settle()
    assert market.call(agreement_id).status == CallStatus.SERVED


def test_a_deposit_the_chain_refused_is_confirmed_again_under_the_same_reference_and_counts_once(
    market: Market,
) -> None:
    bank, context = market.bank.member, market.settlement_bank.context

    def confirm() -> str:
        return deposits.confirm_deposit(
            context, member=bank, amount=7, reference="while suspended"
        ).operation

    market.mine(1, 1)
    before = context.ledger.settlement.account(bank).deposited
    market.governance.execute("suspend", bank, encode_code("unpaid"))
    with pytest.raises(Reverted) as refused_:
        market.settlement_bank.done(confirm())
    assert refused_.value.code == "not_active"
    market.governance.execute("lift", bank)
    market.settlement_bank.done(confirm())
    market.settlement_bank.done(confirm())
    assert context.ledger.settlement.account(bank).deposited == before + 7


def test_an_asset_under_a_dispute_hold_is_not_served_until_it_is_released(
    market: Market, agreement_id: bytes
) -> None:
    for reason, wanted in ((encode_code("disputed"), "asset_held"), (None, "")):
        market.supervisor.done(
            status.set_hold(market.supervisor.context, market.asset_id, reason=reason)
        )
        market.settle()
        assert market.call(agreement_id).reason == wanted


def test_a_request_under_a_key_that_has_ended_is_refused_and_what_was_delivered_is_still_paid(
    market: Market, agreement_id: bytes
) -> None:
    served = market.call(agreement_id)
    key = market.bank.context.signers[KeyPurpose.STATEMENT].fingerprint
    market.governance.execute("endKey", key, encode_code("retired"))
    market.settle()
    assert refused(market, agreement_id) == "key_ended"
    market.run(notice.acknowledge_all(market.bank.context, agreement_id))
    market.claim(agreement_id)
    assert market.department.context.ledger.settlement.lane(agreement_id, 0).seq > served.seq


def test_a_cancelled_asset_is_not_served(market: Market, agreement_id: bytes) -> None:
    market.department.done(
        status.cancel(market.department.context, market.asset_id, encode_code("replaced"))
    )
    market.settle()
    assert refused(market, agreement_id) == "asset_cancelled"
