"""Fines out of a provider's bond: two governors of different organisations, once for each decision,
and no more than the bond holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from chain.core.errors import BadInput, Conflict, Forbidden, NotFound, QiaolianError
from chain.statements.examples import example
from chain.statements.members import Approval, KeyPurpose
from chain.statements.trade import Agreement
from exchange.agreements import service as agreements
from exchange.disputes import fines
from exchange.disputes.calls import CONTRACT
from exchange.disputes.model import FineRequest
from exchange.disputes.schemas import FineBody
from exchange.settlement import service as settlement
from registry.members import service as members
from registry.members.model import Proposal
from registry.members.rules import MAX_AMOUNT, call_arguments
from registry.members.signing import shown
from registry.pages import PageRequest
from registry.uscc import with_check_character
from tests.exchange.conftest import Market, Node

BOND = 300
STRANGER = with_check_character("91440700QL0000009")


@pytest.fixture(scope="module")
def fined_grant(market: Market) -> Iterator[bytes]:
    """A grant whose agreements have a bond from the provider's balance."""
    market.deposit(market.department.member, 10_000, "for bonds")
    market.offer(bond=BOND)
    market.settle()
    yield market.grant()
    market.offer()


@pytest.fixture
def deal(market: Market, fined_grant: bytes) -> bytes:
    return market.open(fined_grant, cap=1000)


def wanted(market: Market, amount: int = 120, reason: str = "2026-17") -> FineRequest:
    return FineRequest(amount, market.bank.member, reason)


def proposed(market: Market, deal: bytes, request: FineRequest) -> Proposal:
    """Drawn up at the supervisor's node, and handed to every governor's."""
    shared = market.run(fines.propose(market.supervisor.context, deal, request))
    assert shared.not_reached == []
    return shared.proposal


def approve(market: Market, node: Node, proposal: Proposal) -> None:
    """The administrator of one organisation signs at its own node."""
    approval = Approval.from_json(proposal.to_json()["approval"])
    digest = approval.digest(node.context.domain("MemberDirectory"))
    signature = node.organisation.signers[KeyPurpose.ADMIN].sign_digest(digest)
    market.run(members.approve(node.context, proposal.proposal_id, signature))


def executed(market: Market, proposal: Proposal) -> None:
    for node in (market.operator, market.supervisor):
        approve(market, node, proposal)
    market.supervisor.done(f"governance/{proposal.proposal_id.hex()}")
    market.settle()


def held(market: Market, deal: bytes) -> int:
    return agreements.proved_state(market.operator.context, deal).bond_held


def free(market: Market, node: Node) -> int:
    return settlement.accounts(market.operator.context, node.member).account.free


def test_two_governors_fine_a_provider_out_of_its_bond(market: Market, deal: bytes) -> None:
    before = free(market, market.bank)
    proposal = proposed(market, deal, wanted(market))
    approve(market, market.supervisor, proposal)
    market.settle()
    assert held(market, deal) == BOND
    executed(market, proposal)
    assert held(market, deal) == BOND - 120
    assert free(market, market.bank) == before + 120
    assert settlement.accounts(market.operator.context).conserved
    for node in market.nodes.values():
        (fine,) = [
            row
            for row in fines.listing(node.context, PageRequest(10)).rows
            if row.agreement_id == deal
        ]
        assert (fine.provider, fine.reason, fine.taken) == (
            market.department.member,
            "2026-17",
            120,
        )


def test_a_decision_counts_once_for_an_agreement(market: Market, deal: bytes) -> None:
    executed(market, proposed(market, deal, wanted(market)))
    with pytest.raises(Conflict) as again:
        market.run(fines.propose(market.supervisor.context, deal, wanted(market, 1)))
    assert again.value.code == "fine_decided"
    agreement = agreements.load(market.supervisor.context, deal).agreement
    arguments = {
        "contract": market.supervisor.context.domain(CONTRACT).contract,
        "agreement": agreement.to_json(),
        "amount": 50,
        "to": market.bank.member,
        "reason": "2026-17",
    }
    shared = market.run(members.propose(market.supervisor.context, fines.ACTION, arguments))
    executed(market, shared.proposal)
    assert held(market, deal) == BOND - 120
    executed(market, proposed(market, deal, wanted(market, BOND - 120, "2026-18")))
    assert held(market, deal) == 0


def test_one_organisation_cannot_fine_alone(market: Market, deal: bytes) -> None:
    proposal = proposed(market, deal, wanted(market))
    for _ in range(2):
        approve(market, market.supervisor, proposal)
    stored = members.find_proposal(market.supervisor.context, proposal.proposal_id)
    assert (list(stored.approvals), stored.operation) == ([market.supervisor.member], "")
    digest = stored.approval.digest(market.bank.context.domain("MemberDirectory"))
    signature = market.bank.organisation.signers[KeyPurpose.ADMIN].sign_digest(digest)
    with pytest.raises(Forbidden) as stranger:
        market.run(members.approve(market.supervisor.context, stored.proposal_id, signature))
    assert stranger.value.code == "not_governor"
    assert held(market, deal) == BOND


def test_a_fine_that_the_chain_would_not_take_is_not_proposed(market: Market, deal: bytes) -> None:
    provider = market.department.member
    for agreement_id, request, code in (
        (deal, wanted(market, 0), "fine_over_bond"),
        (deal, wanted(market, BOND + 1), "fine_over_bond"),
        (deal, replace(wanted(market), to=provider), "fine_to_provider"),
        (deal, replace(wanted(market), to=STRANGER), "not_active"),
        (b"\7" * 32, wanted(market), "unknown_agreement"),
    ):
        with pytest.raises(QiaolianError) as refused:
            market.run(fines.propose(market.supervisor.context, agreement_id, request))
        assert refused.value.code == code
    for reason in ("", "two words", "x" * 32, "Zürich"):
        with pytest.raises(BadInput) as malformed:
            FineBody(amount=1, to=provider, reason=reason, shareWith=[]).request()
        assert malformed.value.code in ("reason_missing", "reason_malformed")
    with pytest.raises(NotFound):
        members.find_proposal(market.operator.context, b"\7" * 32)


def test_no_node_draws_up_nor_accepts_an_action_on_another_contract(
    market: Market, deal: bytes
) -> None:
    proposal = proposed(market, deal, wanted(market))
    other = {**proposal.arguments, "contract": "0x" + "11" * 20}
    with pytest.raises(BadInput) as drawn_up:
        market.run(members.propose(market.supervisor.context, fines.ACTION, other))
    assert drawn_up.value.code == "other_contract"
    with pytest.raises(BadInput) as accepted:
        members.receive_proposal(market.operator.context, replace(proposal, arguments=other))
    assert accepted.value.code == "other_contract"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("amount", 0),
        ("amount", True),
        ("amount", "5"),
        ("amount", 1.5),
        ("amount", MAX_AMOUNT + 1),
        ("to", "11440700QL0000013X"),
        ("agreement", {}),
        ("agreement", "0x" + "11" * 32),
        ("contract", "0x11"),
        ("reason", ""),
    ],
)
def test_a_malformed_fine_is_refused(name: str, value: object) -> None:
    arguments = {
        "contract": "0x" + "11" * 20,
        "agreement": example(Agreement).to_json(),
        "amount": 5,
        "to": STRANGER,
        "reason": "2026-17",
    }
    call_arguments(fines.ACTION, arguments)
    with pytest.raises(BadInput):
        call_arguments(fines.ACTION, {**arguments, name: value})


def test_an_administrator_reads_whom_a_fine_concerns() -> None:
    agreement = example(Agreement)
    arguments = {
        "contract": "0x" + "11" * 20,
        "agreement": agreement.to_json(),
        "amount": 5,
        "to": STRANGER,
        "reason": "2026-17",
    }
    assert shown(fines.ACTION, arguments) == {
        "agreement": "0x" + agreement.struct_hash().hex(),
        "provider": agreement.provider,
        "buyer": agreement.buyer,
        "amount": 5,
        "to": STRANGER,
        "reason": "2026-17",
    }
