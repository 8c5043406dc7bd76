"""The check of the chain's money: it finds each sum that does not hold, and no other."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from chain.core.errors import Conflict, Forbidden
from chain.ethereum.proved_records import StorageKey, account_records
from chain.ethereum.records import AccountRecord, AgreementRecord
from chain.ethereum.storage_prover import storage_slot
from chain.statements.disputes import ContestReason
from exchange.conservation import rules
from exchange.conservation.model import AgreementMoney, Books, Discrepancy, Line
from exchange.conservation.service import ConservationMonitor
from exchange.disputes import service as disputes
from tests.exchange.conftest import Market

BANK = AccountRecord(
    deposited=1000, withdrawn=100, free=480, locked=300, earned=0, spent=100, bonded=20
)
OFFICE = AccountRecord(
    deposited=50, withdrawn=0, free=100, locked=0, earned=100, spent=0, bonded=50
)
TOTALS = AccountRecord(
    deposited=1050, withdrawn=100, free=580, locked=300, earned=100, spent=100, bonded=70
)
OPEN = AgreementRecord(
    opened=400,
    paid=100,
    refunded=0,
    acknowledged=100,
    opened_at=5,
    notice_at=0,
    notice_time=0,
    closed_at=0,
    bond_held=50,
)
CLOSED = replace(OPEN, paid=150, refunded=250, closed_at=9, bond_held=0)
BOOKS = Books(
    totals=TOTALS,
    accounts={"bank": BANK, "office": OFFICE},
    agreements={
        b"\1": AgreementMoney("office", "bank", OPEN),
        b"\2": AgreementMoney("office", "bank", CLOSED),
    },
    stakes={"bank": 20},
    complete=True,
)


def lines(books: Books) -> set[tuple[Line, str]]:
    return {(found.line, found.subject) for found in rules.discrepancies(books)}


def with_agreement(**changes: Any) -> Books:
    changed = AgreementMoney("office", "bank", replace(OPEN, **changes))
    return replace(BOOKS, agreements={**BOOKS.agreements, b"\1": changed})


def test_books_that_add_up_have_no_discrepancy() -> None:
    assert rules.discrepancies(BOOKS) == []


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("deposited", {(Line.TOTALS, ""), (Line.MEMBERS, "deposited")}),
        ("withdrawn", {(Line.TOTALS, ""), (Line.MEMBERS, "withdrawn")}),
        ("free", {(Line.TOTALS, ""), (Line.MEMBERS, "free")}),
        ("locked", {(Line.TOTALS, ""), (Line.MEMBERS, "locked")}),
        ("bonded", {(Line.TOTALS, ""), (Line.MEMBERS, "bonded")}),
        ("earned", {(Line.EARNINGS, ""), (Line.MEMBERS, "earned")}),
        ("spent", {(Line.EARNINGS, ""), (Line.MEMBERS, "spent")}),
    ],
)
@pytest.mark.parametrize("fen", [1, -1])
def test_a_fen_made_or_lost_in_the_totals_is_found(
    field: str, expected: set[tuple[Line, str]], fen: int
) -> None:
    totals = replace(TOTALS, **{field: getattr(TOTALS, field) + fen})
    assert lines(replace(BOOKS, totals=totals)) == expected


@pytest.mark.parametrize(
    "field", ["deposited", "withdrawn", "free", "locked", "earned", "spent", "bonded"]
)
def test_a_fen_made_in_one_account_is_found(field: str) -> None:
    account = replace(BANK, **{field: getattr(BANK, field) + 1})
    found = lines(replace(BOOKS, accounts={**BOOKS.accounts, "bank": account}))
    expected = {(Line.ACCOUNT, "bank"), (Line.MEMBERS, field)}
    if field in ("locked", "bonded"):
        expected.add((Line(field), "bank"))
    assert found == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"paid": 401}, {(Line.AGREEMENT, "0x01"), (Line.LOCKED, "bank")}),
        ({"closed_at": 9}, {(Line.AGREEMENT, "0x01"), (Line.LOCKED, "bank")}),
        ({"opened": 401}, {(Line.LOCKED, "bank")}),
        ({"bond_held": 49}, {(Line.BONDED, "office")}),
    ],
)
def test_an_agreement_that_locks_or_bonds_something_else_is_found(
    changes: dict[str, int], expected: set[tuple[Line, str]]
) -> None:
    assert lines(with_agreement(**changes)) == expected


def test_a_stake_that_no_contest_explains_is_found() -> None:
    assert lines(replace(BOOKS, stakes={})) == {(Line.BONDED, "bank")}


def test_sums_over_all_agreements_need_all_agreements() -> None:
    assert lines(replace(BOOKS, agreements={}, stakes={}, complete=False)) == set()


def test_a_difference_that_events_may_explain_counts_once_it_stays() -> None:
    late, sure = Discrepancy(Line.LOCKED, "bank", 1, 2), Discrepancy(Line.TOTALS, "", 1, 2)
    seen: Counter[Discrepancy] = Counter()
    for expected in ([sure], [sure], [late, sure], [late, sure]):
        found, seen = rules.confirmed([late, sure], seen)
        assert found == expected
    found, seen = rules.confirmed([], seen)
    assert (found, seen) == ([], Counter())
    found, seen = rules.confirmed([late], seen)
    assert found == []


def set_storage(market: Market, record: StorageKey, value: int) -> None:
    """Change a storage value behind the contract's back; seen from the next block on."""
    ledger = market.operator.context.ledger
    address, slot = ledger.deployment.contracts[record.contract], storage_slot(record)
    ledger.rpc.call(
        "anvil_setStorageAt", address, "0x" + slot.hex(), "0x" + value.to_bytes(32, "big").hex()
    )


def test_a_market_with_a_bond_and_a_stake_adds_up_on_the_real_chain(
    market: Market, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = market.supervisor
    monitor = ConservationMonitor(supervisor.context)
    market.deposit(market.department.member, 1_000, "for a bond")
    market.offer(bond=100, stake=20, close_window_blocks=30, close_window_seconds=600)
    deal = market.open(market.grant(), cap=1000, arbiter=supervisor.member)
    market.call(deal)
    claim = disputes.claim(market.department.context, deal, 0)
    market.department.done(claim.operation)
    market.settle()
    contest = disputes.contest(market.bank.context, claim.receipt_id, ContestReason.NO_ANSWER)
    market.bank.done(contest.operation)
    market.settle()
    for _ in range(rules.CONFIRMATIONS):
        monitor.round()
        market.mine(1, 1)
    report = supervisor.call("GET", "/v1/conservation", role="auditor")
    assert (report["addsUp"], report["members"], report["discrepancies"]) == (True, 5, [])
    assert report["agreements"] == report["openAgreements"] > 0
    monitor.require()

    # The bank has a fen more on the chain than it had.
    balance, _ = account_records(market.bank.member)
    had = supervisor.context.view.proved([balance]).value(balance)
    set_storage(market, balance, had + 1)
    for _ in range(rules.CONFIRMATIONS):
        market.mine(1, 1)
        monitor.round()
    with pytest.raises(Conflict) as alarm:
        monitor.require()
    assert alarm.value.code == "money_differs"
    assert "does not add up" in caplog.text
    assert not supervisor.call("GET", "/v1/conservation", role="auditor")["addsUp"]
    with pytest.raises(Forbidden) as other:
        ConservationMonitor.of(market.bank.context)
    assert other.value.code == "not_network_watcher"
    set_storage(market, balance, had)
    market.mine(1, 1)
    monitor.round()
    monitor.require()
    market.offer()
