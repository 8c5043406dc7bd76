"""Bank statements in, orders of payments out: what is read, what is refused, and what two persons
book.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree import ElementTree

import pytest

from chain.context import Context
from chain.core.database import Base, Database
from chain.core.errors import BadInput, Forbidden, QiaolianError
from chain.core.zone import DAY_SECONDS
from exchange import projection as exchange_projection
from exchange.banking import iso20022, payouts, rules, service
from exchange.banking.model import (
    MAX_FILE_BYTES,
    ClearingSettings,
    Direction,
    EntryState,
    FilePreview,
    FileState,
    MemberAccount,
    OrderState,
    Payment,
    PayoutState,
)
from exchange.clearing import service as clearing
from exchange.clearing import statements
from exchange.clearing.model import MovementKind, Right, SplitRule
from exchange.clearing.rules import DEFAULT_SPLIT, parts_of, rule_on
from exchange.settlement import deposits
from nodes.console.accounts.model import PersonRole
from registry import projection as registry_projection
from registry.pages import PageRequest
from tests.exchange.conftest import Market
from tests.support.bank_files import ACCOUNT, Line, statement
from tests.support.console import BASE
from tests.support.node import LocalNode
from tests.support.node_console import console_of
from tests.support.postgresql import PostgresServer, postgres_server

MEMBER = "11440700MB2C62170M"
SETTINGS = ClearingSettings(ACCOUNT, "侨链清算专户", "102589000018")
BANK_CODE = "102589000026"
PAGE = PageRequest(200)


# --- Reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["02", "08", "12"])
def test_a_statement_of_each_version_is_read(version: str) -> None:
    lines = [
        Line("1234.56", "R1", text=f"deposit {MEMBER}", account="6001"),
        Line("20.00", "R2", credit=False, end_to_end="a" * 32),
        Line("7", "R3", booked=False, returned="AC04", party_code=MEMBER),
    ]
    read = iso20022.read_statement(statement(lines, version=version))
    assert (read.account, read.currency, read.opening) == (ACCOUNT, "CNY", 100_000)
    assert read.closing == 100_000 + 123_456 - 2_000
    first, second, third = read.entries
    assert (first.amount, first.reference, first.account) == (123_456, "R1", "6001")
    assert (first.text, first.end_to_end_id, first.day) == (f"deposit {MEMBER}", "", "2026-11-30")
    assert (second.direction, second.end_to_end_id) == (Direction.DEBIT, "a" * 32)
    assert (third.booked, third.return_reason, third.party_code) == (False, "AC04", MEMBER)
    rules.require_statement(read, SETTINGS)


PLAIN = statement([Line("10.00", "R1", text=MEMBER), Line("20.00", "R2", text=MEMBER)])
BOMB = b'<!DOCTYPE Document [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'
HEAD, _, BODY = PLAIN.partition(b"?>")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "bank_file_malformed"),
        (b"not xml", "bank_file_malformed"),
        (PLAIN[:-30], "bank_file_malformed"),
        (PLAIN[: len(PLAIN) // 2], "bank_file_malformed"),
        (HEAD + b"?>" + BOMB + BODY, "bank_file_malformed"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "bank_file_malformed"),
        (b"<a>" * 100_000, "bank_file_malformed"),
        (b"<Document/>", "bank_file_kind"),
        (PLAIN.replace(b"camt.053.001.08", b"camt.053.001.99"), "bank_file_kind"),
        (PLAIN.replace(b"camt.053", b"pain.001"), "bank_file_kind"),
        (PLAIN.replace(b"BkTxCd", b"Unknown"), "bank_file_malformed"),
        (PLAIN.replace(b"10.00<", b"ten<"), "bank_file_malformed"),
        (PLAIN.replace(b"10.00<", b"10.001<"), "bank_amount_malformed"),
        (PLAIN.replace(b">10.00<", b">-10.00<"), "bank_amount_malformed"),
        (PLAIN.replace(b">10.00<", b">99999999999999999.00<"), "bank_amount_malformed"),
        (PLAIN.replace(b"CLBD", b"ITBD"), "bank_balance_missing"),
        (PLAIN.replace(b"UTF-8", b"GB18030"), "bank_file_malformed"),
        (bytes(MAX_FILE_BYTES + 1), "bank_file_too_large"),
    ],
)
def test_a_file_that_is_no_whole_statement_is_refused(content: bytes, code: str) -> None:
    with pytest.raises(BadInput) as error:
        iso20022.read_statement(content)
    assert error.value.code == code


def test_a_file_of_two_statements_or_of_none_is_refused() -> None:
    start, end = PLAIN.index(b"<Stmt>"), PLAIN.index(b"</Stmt>") + len(b"</Stmt>")
    one = PLAIN[start:end]
    for content in (PLAIN[:end] + one + PLAIN[end:], PLAIN[:start] + PLAIN[end:]):
        with pytest.raises(BadInput) as error:
            iso20022.read_statement(content)
        assert error.value.code == "bank_file_statements"


def test_an_entry_of_several_payments_is_read_as_each_of_them() -> None:
    details = PLAIN[PLAIN.index(b"<TxDtls>") : PLAIN.index(b"</NtryDtls>")]
    parts = [
        details.replace(b"</Refs>", b'</Refs><Amt Ccy="CNY">%s</Amt>' % amount)
        for amount in (b"4.00", b"6.00")
    ]
    read = iso20022.read_statement(PLAIN.replace(details, b"".join(parts), 1))
    assert [(one.reference, one.amount) for one in read.entries[:2]] == [
        ("R1/1", 400),
        ("R1/2", 600),
    ]
    parts[1] = parts[1].replace(b"6.00", b"6.01")
    with pytest.raises(BadInput) as error:
        iso20022.read_statement(PLAIN.replace(details, b"".join(parts), 1))
    assert error.value.code == "bank_amount_malformed"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (statement([Line("1", "R1")], account="6222999"), "bank_account_differs"),
        (statement([Line("1", "R1")], currency="USD"), "bank_currency_differs"),
        (statement([Line("1", "R1", currency="HKD")]), "bank_currency_differs"),
        (statement([Line("1", "R1")], closing=100_101), "bank_sum_differs"),
        (statement([Line("1", "R1")], closing=99_900), "bank_sum_differs"),
        (statement([Line("1", "R1"), Line("2", "R1")]), "bank_reference_doubled"),
        (statement([Line("1", "R1"), Line("1", "R1", credit=False)]), "bank_reference_doubled"),
    ],
)
def test_a_statement_that_does_not_fit_is_refused_as_a_whole(content: bytes, code: str) -> None:
    with pytest.raises(BadInput) as error:
        rules.require_statement(iso20022.read_statement(content), SETTINGS)
    assert error.value.code == code


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({}, ""),
        ({"booked": False}, "bank_entry_pending"),
        ({"amount": 0}, "amount_missing"),
        ({"reference": ""}, "bank_reference_missing"),
        ({"reference": "x" * 129}, "bank_reference_missing"),
        ({"reference": "taken"}, "bank_reference_taken"),
        ({"text": ""}, "bank_member_unnamed"),
        ({"text": "91440700MA4W000011"}, "bank_member_unnamed"),
        ({"text": f"{MEMBER} 92440703MD00000168"}, "bank_member_ambiguous"),
        ({"text": "92440703MD00000168"}, "bank_member_unknown"),
        ({"text": "", "account": "6001"}, ""),
        ({"text": "", "account": "6002"}, "bank_member_unnamed"),
        ({"text": "", "party_code": MEMBER}, ""),
        ({"direction": Direction.DEBIT}, "payout_unknown"),
    ],
)
def test_a_credit_is_a_deposit_only_where_it_names_one_active_member(
    changed: dict[str, object], problem: str
) -> None:
    (entry,) = iso20022.read_statement(statement([Line("10", "R1", text=MEMBER)])).entries
    known = rules.Known(frozenset({MEMBER}), {"6001": MEMBER}, {}, {"taken": (MEMBER, 1)})
    reading = rules.read_entry(dataclasses.replace(entry, **changed), known)
    assert reading.problem == problem
    assert (reading.action.value == "deposit") == (not problem)


# --- Accounts and orders --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"account": ""},
        {"account": "6222 0002"},
        {"account": "1" * 35},
        {"account": "GB82WEST12345698765433"},
        {"name": ""},
        {"name": "a\nb"},
        {"name": "n" * 71},
        {"bank_code": "12345"},
    ],
)
def test_a_malformed_account_is_refused(changed: dict[str, str]) -> None:
    account = MemberAccount(MEMBER, "6001", "市社保局", BANK_CODE, 0)
    rules.require_account(account)
    rules.require_account(dataclasses.replace(account, account="GB82WEST12345698765432"))
    with pytest.raises(BadInput) as error:
        rules.require_account(dataclasses.replace(account, **changed))
    assert error.value.code == "bank_account_malformed"


def test_an_order_is_a_pain_001_with_every_payment_and_their_sum() -> None:
    payees = [
        Payment("a" * 32, 123_456, MemberAccount(MEMBER, "6001", "市社保局 & <局>", BANK_CODE, 0)),
        Payment("b" * 32, 1, MemberAccount(MEMBER, "GB82WEST12345698765432", "行", BANK_CODE, 0)),
    ]
    content = iso20022.order_file("QL1", SETTINGS, payees, at=1_800_000_000, day="2026-12-01")
    root = ElementTree.fromstring(content)
    space = {"p": iso20022.PAIN}
    texts = lambda path: [one.text for one in root.findall(f".//p:{path}", space)]  # noqa: E731
    assert root.tag == f"{{{iso20022.PAIN}}}Document"
    assert texts("CtrlSum") == ["1234.57", "1234.57"]
    assert texts("NbOfTxs") == ["2", "2"]
    assert texts("EndToEndId") == ["a" * 32, "b" * 32]
    assert texts("InstdAmt") == ["1234.56", "0.01"]
    assert texts("IBAN") == ["GB82WEST12345698765432"]
    assert texts("ReqdExctnDt/p:Dt") == ["2026-12-01"]
    assert "市社保局 & <局>" in texts("Nm")


# --- What two persons book ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def banking(market: Market) -> Market:
    """The market with the network's account in the configuration of bank and operator."""
    for node in (market.settlement_bank, market.operator):
        node.context.services.put(SETTINGS)
    return market


def take(market: Market, lines: list[Line], statement_id: str, person: str = "one") -> FilePreview:
    content = statement(lines, statement_id=statement_id)
    context = market.settlement_bank.context
    return service.take(context, name="camt053.xml", content=content, person=person)


def book(market: Market, found: FilePreview) -> FilePreview:
    context = market.settlement_bank.context
    for person in ("one", "two"):
        found = service.approve(context, found.file.id, digest=found.digest, person=person)
    await_calls(market, found.file.id)
    return found


def await_calls(market: Market, file_id: str) -> None:
    """Wait until the chain has what a file's booking queued, and every node has taken it."""
    for one in service.entries(market.settlement_bank.context, file_id, PAGE).rows:
        if one.operation:
            market.settlement_bank.done(one.operation)
    market.settle()


def refused(code: str, act: Callable[[], object]) -> None:
    with pytest.raises(QiaolianError) as error:
        act()
    assert error.value.code == code


def free(market: Market, member: str) -> int:
    return market.operator.context.ledger.settlement.account(member).free


def test_a_statement_is_taken_once_and_booked_by_two_persons(banking: Market) -> None:
    bank, member = banking.settlement_bank.context, banking.department.member
    before = free(banking, member)
    lines = [
        Line("100.00", "T1-1", text=f"入金 {member}"),
        Line("5.00", "T1-2", text="no code"),
        Line("3.00", "T1-3", credit=False),
    ]
    found = take(banking, lines, "T1")
    assert (found.deposits, found.payouts, found.first) == (10_000, 0, "")
    assert found.counts[EntryState.UNCLEAR] == 2
    refused("bank_file_taken", lambda: take(banking, lines, "T1"))
    refused("bank_statement_taken", lambda: take(banking, lines[:1], "T1"))
    other = dict(digest=b"\1" * 32, person="one")
    refused("bank_plan_changed", lambda: service.approve(bank, found.file.id, **other))
    unnamed = dict(digest=found.digest, person="")
    refused("person_unnamed", lambda: service.approve(bank, found.file.id, **unnamed))
    first = service.approve(bank, found.file.id, digest=found.digest, person="one")
    assert (first.first, first.counts[EntryState.BOOKED]) == ("one", 0)
    again = dict(digest=found.digest, person="one")
    refused("second_person_needed", lambda: service.approve(bank, found.file.id, **again))

    named = service.name_member(bank, found.file.id, 2, member)
    assert (named.deposits, named.first) == (10_500, ""), "changed content needs both persons again"
    booked = book(banking, named)
    assert booked.counts[EntryState.BOOKED] == 2
    assert booked.file.state is FileState.OPEN
    aside = service.set_aside(bank, found.file.id, 3, "bank charges")
    assert aside.file.state is FileState.BOOKED
    refused("bank_entry_booked", lambda: service.set_aside(bank, found.file.id, 1, "because"))
    again["person"] = "two"
    refused("bank_file_nothing_to_book", lambda: service.approve(bank, found.file.id, **again))
    assert free(banking, member) == before + 10_500


def test_a_reference_that_was_confirmed_before_is_not_booked_again(banking: Market) -> None:
    member = banking.bank.member
    banking.deposit(member, 700, "T2-1")
    found = take(banking, [Line("7.00", "T2-1", text=member)], "T2")
    (row,) = service.entries(banking.settlement_bank.context, found.file.id, PAGE).rows
    assert row.reading.problem == "bank_reference_taken"
    assert found.counts[EntryState.UNDERSTOOD] == 0


def test_a_reference_that_is_confirmed_meanwhile_changes_what_would_be_booked(
    banking: Market,
) -> None:
    bank, member = banking.settlement_bank.context, banking.bank.member
    lines = [Line("7.00", "T3-1", text=member), Line("8.00", "T3-2", text=member)]
    found = take(banking, lines, "T3")
    banking.deposit(member, 700, "T3-1")
    asked = dict(digest=found.digest, person="one")
    refused("bank_plan_changed", lambda: service.approve(bank, found.file.id, **asked))
    shown = service.preview(bank, found.file.id)
    assert (shown.deposits, shown.counts[EntryState.UNCLEAR]) == (800, 1)
    assert book(banking, shown).counts[EntryState.BOOKED] == 1


def test_only_the_settlement_bank_takes_files_and_only_with_an_account(banking: Market) -> None:
    content = statement([Line("1", "T4-1")], statement_id="T4")
    asked = dict(name="a", content=content, person="one")
    operator, bank = banking.operator.context, banking.settlement_bank.context
    refused("not_settlement_bank", lambda: service.take(operator, **asked))
    bank.services.put(ClearingSettings())
    refused("bank_account_unset", lambda: service.take(bank, **asked))
    bank.services.put(SETTINGS)
    body = {"member": banking.bank.member, "amount": 1, "reference": "typed"}
    refused(
        "deposit_by_file",
        lambda: banking.settlement_bank.call("POST", "/v1/deposits", body, role="clerk"),
    )


def test_a_withdrawal_is_paid_by_an_order_of_two_persons_and_confirmed_by_the_bank(
    banking: Market,
) -> None:
    operator, bank = banking.operator.context, banking.settlement_bank.context
    payee = banking.bank
    payee.done(deposits.withdraw(payee.context, amount=4_321, order="W-1"))
    banking.settle()
    (waiting,) = payouts.listing(operator, PAGE, state=PayoutState.ORDERED).rows
    assert (waiting.member, waiting.amount) == (payee.member, 4_321)
    assert payouts.listing(payee.context, PAGE).rows[0].id == waiting.id
    assert payouts.listing(banking.department.context, PAGE).rows == []
    refused("nothing_to_pay", lambda: payouts.propose(operator, day="", person="one"))
    account = dict(member=payee.member, account="6001", name="江门银行", bank_code=BANK_CODE)
    assert not payouts.set_account(operator, **account, person="one")
    refused("second_person_needed", lambda: payouts.set_account(operator, **account, person="one"))
    stolen = account | {"account": "6666"}
    assert not payouts.set_account(operator, **stolen, person="two"), "other content begins again"
    assert payouts.accounts(operator, PAGE).rows == []
    assert not payouts.set_account(operator, **account, person="one")
    assert payouts.set_account(operator, **account, person="two")

    order = payouts.propose(operator, day="", person="one")
    assert (order.payments, order.total) == (1, 4_321)
    refused("nothing_to_pay", lambda: payouts.propose(operator, day="", person="one"))
    refused("payment_order_not_released", lambda: payouts.order_content(operator, order.id))
    refused("second_person_needed", lambda: payouts.release(operator, order.id, person="one"))
    payouts.drop(operator, order.id, person="one")
    refused("payment_order_over", lambda: payouts.release(operator, order.id, person="two"))
    order = payouts.propose(operator, day="", person="one")
    assert payouts.release(operator, order.id, person="two").state is OrderState.RELEASED
    content = payouts.order_content(operator, order.id)
    assert hashlib.sha256(content).digest() == order.digest
    assert waiting.id.encode() in content
    refused("payment_order_over", lambda: payouts.drop(operator, order.id, person="one"))

    assert banking.run(payouts.fetch_confirmations(operator)) == {}
    assert payouts.listing(operator, PAGE).rows[0].state is PayoutState.INSTRUCTED
    wrong = Line("43.20", "W1-0", credit=False, end_to_end=waiting.id)
    right = dataclasses.replace(wrong, amount="43.21", reference="W1-1")
    twice = dataclasses.replace(right, reference="W1-2")
    found = book(banking, take(banking, [wrong, right, twice], "W1"))
    rows = service.entries(bank, found.file.id, PAGE).rows
    assert [row.reading.problem for row in rows] == ["payout_amount_differs", "", "payout_paid"]
    assert payouts.listing(bank, PAGE).rows[0].state is PayoutState.PAID
    for node in (banking.operator, payee):
        assert banking.run(payouts.fetch_confirmations(node.context)) == {}
        paid = payouts.listing(node.context, PAGE).rows[0]
        assert (paid.state, paid.confirmed_by) == (PayoutState.PAID, bank.member)

    back = Line("43.21", "W2-1", end_to_end=waiting.id, returned="AC04")
    before = free(banking, payee.member)
    returned = book(banking, take(banking, [back], "W2"))
    assert returned.counts[EntryState.BOOKED] == 1
    assert free(banking, payee.member) == before + 4_321
    assert payouts.listing(bank, PAGE).rows[0].reason == "AC04"
    more = [
        dataclasses.replace(back, reference="W3-1"),
        dataclasses.replace(back, reference="W3-2", returned="", text=payee.member),
    ]
    again = take(banking, more, "W3")
    rows = service.entries(bank, again.file.id, PAGE).rows
    assert [row.reading.problem for row in rows] == ["payout_unpaid", ""]
    assert rows[1].reading.action.value == "deposit", "an id alone makes no return"


def test_a_confirmation_of_another_payment_or_signer_is_not_taken(banking: Market) -> None:
    payee = banking.bank
    payee.done(deposits.withdraw(payee.context, amount=99, order="W-9"))
    banking.settle()
    waiting = payouts.listing(payee.context, PAGE, state=PayoutState.ORDERED).rows[0]
    line = Line("0.99", "W9-1", credit=False, end_to_end=waiting.id)
    book(banking, take(banking, [line], "W9"))

    def with_amount(answer: dict[str, list[dict[str, dict[str, str]]]]) -> object:
        for row in answer["confirmations"]:
            row["statement"]["amount"] = "98"
        return answer

    def of_other_signer(answer: dict[str, list[dict[str, str]]]) -> object:
        for row in answer["confirmations"]:
            row["signature"] = "0x" + "11" * 64 + "1b"
        return answer

    for altered, code in (
        (with_amount, "confirmation_differs"),
        (of_other_signer, "confirmation_differs"),
        (lambda _answer: {"confirmations": 1}, "peer_answer_unreadable"),
    ):
        payee.peers.altered = altered
        failed = banking.run(payouts.fetch_confirmations(payee.context))
        payee.peers.altered = None
        assert [error.code for error in failed.values()] == [code]
        assert payouts.listing(payee.context, PAGE).rows[0].state is PayoutState.ORDERED


# --- Statements -----------------------------------------------------------------------------------


def test_a_member_makes_its_own_statement_and_it_agrees_with_the_contract(
    banking: Market, grant_id: bytes
) -> None:
    agreement = banking.open(grant_id)
    for number in (1, 2, 3):
        banking.call(agreement, number)
    banking.call(agreement, 4)
    banking.claim(agreement)
    for node in (banking.department, banking.bank, banking.operator):
        own = statements.statement(node.context)
        assert own.agrees is True
        assert own.opening + sum(line.amount for line in own.lines) == own.closing
        same = statements.statement(banking.supervisor.context, member=node.member)
        assert (same.closing, len(same.lines)) == (own.closing, len(own.lines))
    refused(
        "statement_of_others",
        lambda: statements.statement(banking.bank.context, member=banking.department.member),
    )
    earned = statements.statement(banking.department.context).earned
    fee = statements.statement(banking.operator.context).earned
    assert sum(earned.values()) == 135
    assert fee == {Right.PLATFORM: 15}
    spent = statements.statement(banking.bank.context).lines
    paid = [line for line in spent if line.movement.kind is MovementKind.PAID]
    assert sum(line.amount for line in paid) == -150
    comparison = clearing.compare(banking.operator.context)
    assert (comparison.differences, comparison.behind) == ([], False)
    position = {
        one.member: one
        for one in clearing.positions(
            banking.operator.context, clearing.days(banking.operator.context)[0].day
        )
    }
    assert sum(one.closing for one in position.values()) == comparison.held


@pytest.mark.parametrize(
    ("since", "until", "code"),
    [
        ("2026-13-01", "", "day_malformed"),
        ("2026-02-30", "", "day_malformed"),
        ("2026-11-02", "2026-11-01", "period_malformed"),
        ("2025-01-01", "2026-11-01", "period_malformed"),
    ],
)
def test_a_statement_is_of_a_period(banking: Market, since: str, until: str, code: str) -> None:
    refused(code, lambda: statements.statement(banking.bank.context, since=since, until=until))


HOLDERS = {Right.HOLDING: "A", Right.PROCESSING: "A", Right.OPERATING: "B"}


@pytest.mark.parametrize(
    ("member", "platform", "parts"),
    [
        ("A", False, {Right.HOLDING: 63, Right.PROCESSING: 37}),
        ("B", False, {Right.OPERATING: 100}),
        ("B", True, {Right.OPERATING: 100}),
        ("C", True, {Right.PLATFORM: 100}),
        ("C", False, {Right.AGREED: 100}),
    ],
)
def test_a_share_is_for_the_rights_that_its_member_holds(
    member: str, platform: bool, parts: dict[Right, int]
) -> None:
    found = parts_of(100, member, HOLDERS, platform=platform, rule=DEFAULT_SPLIT)
    assert found == parts
    assert sum(found.values()) == 100


def test_a_rule_begins_on_a_day_to_come_and_two_persons_set_it(banking: Market) -> None:
    operator = banking.operator.context
    rule = SplitRule("2099-01-01", 10_000, 0, 0)
    act = lambda rule, person: statements.set_split_rule(operator, rule, person=person)  # noqa: E731
    refused("split_not_whole", lambda: act(SplitRule("2099-01-01", 9_999, 0, 0), "one"))
    refused("split_not_whole", lambda: act(SplitRule("2099-01-01", 10_001, -1, 0), "one"))
    refused("split_rule_begun", lambda: act(SplitRule("2020-01-01", 10_000, 0, 0), "one"))
    with pytest.raises(Forbidden):
        statements.set_split_rule(banking.bank.context, rule, person="one")
    assert not act(rule, "one")
    assert act(rule, "two")
    found = statements.split_rules(operator)
    assert found == [rule]
    assert rule_on(found, "2098-12-31") == DEFAULT_SPLIT
    assert rule_on(found, "2099-01-01") == rule
    assert banking.run(statements.fetch_split_rules(banking.bank.context)) == {}
    assert statements.split_rules(banking.bank.context) == [rule]


# --- The console ----------------------------------------------------------------------------------


def test_persons_take_book_order_and_state_on_the_pages(banking: Market) -> None:
    bank, operator = console_of(banking.settlement_bank), console_of(banking.operator)
    first, second = (bank.person(PersonRole.CLERK) for _ in range(2))
    member = banking.department.member
    content = statement(
        [Line("12.34", "C1-1", text=member), Line("1.00", "C1-2")], statement_id="C1"
    )
    answer = first.http.post(
        "/bank-files",
        data=first.hidden("/bank-files"),
        files={"file": ("camt053.xml", content, "application/xml")},
        headers={"origin": BASE},
    )
    page = answer.headers["location"]
    shown = first.page(page)
    assert "12.34" in shown
    assert "Nothing in the entry says which member it is of." in shown
    digest = {"digest": re.findall(r'name="digest" value="([^"]*)"', shown)[0]}
    for person in (first, first, second):
        answer = person.send(page, f"{page}/approvals", digest)
    assert answer.headers["location"] == page
    assert "booked" in second.page(page)
    aside = second.send(page, f"{page}/entries/2/aside", {"reason": "bank charges"})
    assert aside.status_code == 303
    assert "nothing is left to do" in second.page(page)
    await_calls(banking, page.rpartition("/")[2])
    auditor = bank.person(PersonRole.AUDITOR)
    assert "aside" not in re.findall(r'action="[^"]*"', auditor.page(page))
    assert auditor.send(page, f"{page}/approvals", digest).status_code == 403

    payee = banking.bank
    payee.done(deposits.withdraw(payee.context, amount=55, order="W-C"))
    banking.settle()
    one, two = (operator.person(PersonRole.CLERK) for _ in range(2))
    made = one.send("/payouts", "/payment-orders", {"day": ""})
    assert made.status_code == 303, made.text
    released = re.findall(r"/payment-orders/(QL[0-9a-f]{30})/release", one.page("/payouts"))[0]
    assert one.send("/payouts", f"/payment-orders/{released}/release", {}).status_code == 403
    assert two.send("/payouts", f"/payment-orders/{released}/release", {}).status_code == 303
    assert b"pain.001.001.09" in two.get(f"/payment-orders/{released}/order.xml").content
    assert "Every sum of the book is that of the contract" in one.page("/clearing-comparison")
    day = clearing.days(operator.context)[0].day
    assert "Net positions" in one.page(f"/clearing/{day}")
    assert member in one.get(f"/clearing/{day}/positions.csv").text

    reader = console_of(banking.department).person(PersonRole.AUDITOR)
    assert "Entries of the account" in reader.page("/statement")
    lines = reader.get("/statement.csv").text.splitlines()
    assert lines[0].lstrip("\ufeff").split(",")[7:9] == ["amount_fen", "balance_fen"]
    own = statements.statement(banking.department.context)
    assert lines[-1].split(",")[8] == str(own.closing)
    assert reader.get("/statement.pdf").content.startswith(b"%PDF")
    assert reader.get(f"/statement?member={payee.member}").status_code == 403
    assert reader.get("/bank-files").status_code == 403


def test_the_endpoints_answer_as_described_and_name_the_person(banking: Market) -> None:
    bank = banking.settlement_bank
    content = statement([Line("2.00", "E1-1", text=banking.bank.member)], statement_id="E1")
    body = {"name": "e1.xml", "content": base64.b64encode(content).decode()}

    def post(path: str, body: object, person: str) -> dict[str, Any]:
        headers = {"x-local": "clerk", "x-person": person}
        found: dict[str, Any] = asyncio.run(bank.answer("POST", path, body, headers))
        return found

    taken = post("/v1/bank-files", body, "token:a")
    path = f"/v1/bank-files/{taken['file']['fileId']}"
    assert (taken["deposits"], taken["file"]["takenBy"]) == ("200", "token:a")
    bad = body | {"content": "not base64"}
    refused("bank_file_malformed", lambda: post("/v1/bank-files", bad, "token:a"))
    seen = {"digest": taken["digest"]}
    assert post(f"{path}/approvals", seen, "token:a")["approvedBy"] == "token:a"
    refused("second_person_needed", lambda: post(f"{path}/approvals", seen, "token:a"))
    assert post(f"{path}/approvals", seen, "token:b")["file"]["state"] == "booked"
    rows = bank.call("GET", f"{path}/entries", role="auditor")["entries"]
    assert [(row["state"], row["action"]) for row in rows] == [("booked", "deposit")]
    bank.done(rows[0]["operation"])
    banking.settle()
    refused("role_missing", lambda: bank.call("POST", f"{path}/approvals", seen, role="auditor"))
    shown = banking.bank.call("GET", "/v1/account-statement", role="auditor")
    assert shown["member"] == banking.bank.member
    compared = banking.operator.call("GET", "/v1/clearing/comparison", role="auditor")
    assert compared["agrees"] is True


# --- A database that goes away --------------------------------------------------------------------


@dataclasses.dataclass
class Crashing:
    """A clock that crashes the database server when a change in the middle of its work asks it."""

    server: PostgresServer
    clock: Callable[[], float]
    calls_left: int = -1
    crashes: int = 0

    def __call__(self) -> float:
        if self.calls_left == 0:
            self.calls_left, self.crashes = -1, self.crashes + 1
            self.server.crash()
        elif self.calls_left > 0:
            self.calls_left -= 1
        return self.clock()


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server of its own, since it is crashed."""
    with postgres_server() as server:
        yield server


def on_postgresql(node: LocalNode, server: PostgresServer) -> tuple[Context, Crashing]:
    """A node's services over a database of that server, with every event of the chain."""
    database = Database(server.new_database())
    Base.metadata.create_all(database.engine)
    crashing = Crashing(server, node.context.clock)
    context = dataclasses.replace(node.context, database=database, clock=crashing)
    head = context.ledger.height()
    blocks = context.view.logs(context.ledger.deployment.deployed_at, head).blocks
    events = [event for block in blocks for event in context.ledger.decode_logs(block)]
    for apply in (registry_projection.apply, exchange_projection.apply):
        database.write(lambda session, apply=apply: apply(session, events, context))
    context.projected_height = head
    return context, crashing


def interrupted(crashing: Crashing, act: Callable[[], object]) -> None:
    """The act with a crash in its middle: it fails as a whole."""
    crashing.calls_left = 0
    refused("database_unavailable", act)
    assert crashing.calls_left == -1


def test_a_crash_of_the_database_leaves_a_file_whole_or_not_taken(
    banking: Market, postgres: PostgresServer
) -> None:
    context, crashing = on_postgresql(banking.settlement_bank, postgres)
    member = banking.department.member
    lines = [Line("1.00", f"P1-{number}", text=member) for number in range(3)]
    content = statement(lines, statement_id="P1")
    asked = dict(name="a", content=content, person="one")
    interrupted(crashing, lambda: service.take(context, **asked))
    assert service.listing(context, PAGE).rows == []
    found = service.take(context, **asked)
    assert found.counts[EntryState.UNDERSTOOD] == 3
    service.approve(context, found.file.id, digest=found.digest, person="one")
    second = dict(digest=found.digest, person="two")
    interrupted(crashing, lambda: service.approve(context, found.file.id, **second))
    assert service.preview(context, found.file.id) == dataclasses.replace(found, first="one")
    with context.database.read() as session:
        assert deposits.confirmed_before(session, ["P1-0", "P1-1", "P1-2"]) == {}
    booked = service.approve(context, found.file.id, **second)
    assert booked.counts[EntryState.BOOKED] == 3
    assert crashing.crashes == 2
    context.database.close()


def test_a_crash_of_the_database_leaves_a_day_closed_or_open(
    banking: Market, postgres: PostgresServer
) -> None:
    banking.mine(1, 2 * DAY_SECONDS)
    context, crashing = on_postgresql(banking.operator, postgres)
    days = sorted(day.day for day in clearing.days(context) if day.totals.entries)
    first = days[0]
    clearing.close_day(context, first, person="one")
    interrupted(crashing, lambda: clearing.close_day(context, first, person="two"))
    left = clearing.day(context, first)
    assert (left.closing, left.proposed_by) == (None, "one")
    closed = clearing.close_day(context, first, person="two")
    assert closed.closing is not None
    assert clearing.compare(context).differences == []
    assert sum(one.closing for one in clearing.positions(context, first)) == closed.closing_balance
    assert crashing.crashes == 1
    context.database.close()
