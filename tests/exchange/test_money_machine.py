"""Random trades, disputes, fines and closings against the real contracts on a throw-away chain. After
each step the chain's accounts are those of a plain model, and the supervisor's check finds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from chain.core.crypto import new_private_key
from chain.ethereum import anvil
from chain.ethereum.deploy import deploy
from chain.ethereum.deployment import CloseWindow
from chain.ethereum.ledger import Ledger, Reverted
from chain.ethereum.records import AccountRecord
from chain.ethereum.transactions import gas_for, sign_transaction
from chain.statements.assets import AssetRecord
from chain.statements.disputes import LogPosition, Ruling, RulingOutcome
from chain.statements.examples import example
from chain.statements.grants import GrantDecision, GrantTerms, Operation
from chain.statements.members import KeyPurpose, Role
from chain.statements.trade import (
    Agreement,
    DepositConfirmation,
    FinalSettlement,
    LaneTotal,
    MeteredUnit,
    Share,
    UsageOutcome,
    UsageReceipt,
    UsageRequest,
    Voucher,
)
from exchange.conservation.model import AgreementMoney, Books
from exchange.conservation.rules import discrepancies
from registry.assets.rules import asset_id_of
from registry.uscc import with_check_character
from tests.support.organisations import Governance, Organisation
from tests.support.waiting import wait_for

SETTLEMENT, DISPUTES = "TradeSettlement", "TradeDisputes"
FOREVER = 2**40
WINDOW = 2
PRICE = 7
SHARES = (9_000, 1_000)
ROLES = {
    "operator": Role.OPERATOR,
    "supervisor": Role.SUPERVISOR,
    "department": Role.DEPARTMENT,
    "bank": Role.BANK,
    "settlement_bank": Role.SETTLEMENT_BANK,
}
TRADERS = ("bank", "department", "operator")


class Trading:
    """A chain with the contracts, its members, and one granted asset."""

    def __init__(self, url: str) -> None:
        self.people = {
            role: Organisation.make(role, with_check_character(f"11440700MB2X0D{index:03d}"), roles)
            for index, (role, roles) in enumerate(ROLES.items())
        }
        founders = list(self.people.values())[:3]
        deployment = deploy(
            url,
            new_private_key(),
            [founder.governor() for founder in founders],
            min_close_window=CloseWindow(WINDOW, WINDOW),
        )
        self.ledger = Ledger(url, deployment)
        self.governance = Governance(self.ledger, founders)
        self.governance.admit(self.people.values(), [one.name for one in founders])
        self.terms = self._granted()

    def member(self, role: str) -> str:
        return self.people[role].member

    def sign(self, role: str, statement: Any) -> bytes:
        domain = self.ledger.deployment.domain(statement.contract)
        return self.people[role].signers[KeyPurpose.STATEMENT].sign(statement, domain)

    def send(self, role: str, contract: str, function: str, *arguments: Any) -> None:
        """Send a call; the contract's refusal is raised."""
        ledger, signer = self.ledger, self.people[role].transaction
        address, data = ledger.encode(contract, function, *arguments)
        ledger.simulate(address, data, sender=signer.address)
        signed = sign_transaction(
            signer,
            chain_id=ledger.deployment.chain_id,
            nonce=ledger.nonce(signer.address),
            to=address,
            data=data,
            gas=gas_for(data),
        )
        (answer,) = ledger.send([signed.raw])
        assert isinstance(answer, bytes), answer
        assert wait_for(lambda: ledger.receipt(signed.transaction_hash), function).succeeded

    def pass_window(self) -> None:
        self.ledger.rpc.call("evm_increaseTime", WINDOW + 1)
        self.ledger.rpc.call("anvil_mine", hex(WINDOW + 1))

    def _granted(self) -> GrantTerms:
        department, bank = self.member("department"), self.member("bank")
        asset = replace(
            example(AssetRecord),
            version=1,
            holder=department,
            processor=department,
            operator=department,
            asset_version=1,
            grade=2,
            parents=(),
        )
        terms = replace(
            example(GrantTerms),
            version=1,
            asset_id=asset_id_of(department, asset.name),
            asset_version=1,
            owner=department,
            grantee=bank,
            operations=int(Operation.USE),
            not_before=1,
            not_after=FOREVER,
        )
        decision = GrantDecision(1, terms.struct_hash(), True, "agreed", FOREVER)
        approval = self.people["department"].officer.sign(
            decision, self.ledger.deployment.domain("GrantRegistry")
        )
        self.send("department", "AssetRegistry", "register", asset)
        self.send("bank", "GrantRegistry", "request", terms)
        self.send("department", "GrantRegistry", "decide", terms, decision, approval)
        return terms


@dataclass
class Purse:
    """A member's account as the model has it."""

    deposited: int = 0
    withdrawn: int = 0
    free: int = 0
    locked: int = 0
    earned: int = 0
    spent: int = 0
    bonded: int = 0

    def record(self) -> AccountRecord:
        return AccountRecord(**vars(self))


@dataclass
class Deal:
    """An agreement as the model has it; one lane."""

    agreement: Agreement
    due: int
    """Of the bond, still to be withheld."""
    held: int
    seq: int = 0
    tried: int = 0
    """The last position that a receipt was made for."""
    acknowledged: int = 0
    paid: list[int] = field(default_factory=lambda: [0, 0])
    closed: bool = False

    @property
    def room(self) -> int:
        return self.agreement.cap - self.acknowledged


class MoneyMachine(RuleBasedStateMachine):
    """Steps of the department, the bank, the arbiter, the governors and the settlement bank."""

    trading: ClassVar[Trading]

    @initialize()
    def begin(self) -> None:
        self.snapshot = self.trading.ledger.rpc.call("evm_snapshot")
        self.purses = {role: Purse() for role in TRADERS}
        self.deals: list[Deal] = []
        self.number = 0
        self.deposit("bank", 400)
        self.deposit("department", 100)

    def teardown(self) -> None:
        if hasattr(self, "snapshot"):
            assert self.trading.ledger.rpc.call("evm_revert", self.snapshot)

    # --- Money in and out -------------------------------------------------------------------------

    @rule(role=st.sampled_from(TRADERS), amount=st.integers(1, 500))
    def deposit(self, role: str, amount: int) -> None:
        member = self.trading.member(role)
        confirmation = DepositConfirmation(
            1, self.trading.member("settlement_bank"), member, amount, self.next_id(), FOREVER
        )
        signature = self.trading.sign("settlement_bank", confirmation)
        deposit = ("settlement_bank", SETTLEMENT, "deposit", confirmation, signature)
        self.trading.send(*deposit)
        self.refused("reference_used", *deposit)
        purse = self.purses[role]
        purse.deposited += amount
        purse.free += amount

    @rule(role=st.sampled_from(TRADERS), amount=st.integers(1, 500))
    def withdraw(self, role: str, amount: int) -> None:
        purse = self.purses[role]
        if amount > purse.free:
            self.refused("not_enough_free", role, SETTLEMENT, "withdraw", amount, self.next_id())
            return
        self.trading.send(role, SETTLEMENT, "withdraw", amount, self.next_id())
        purse.free -= amount
        purse.withdrawn += amount

    # --- A trade ----------------------------------------------------------------------------------

    @precondition(lambda self: len(self.live()) < 3)
    @rule(
        cap=st.integers(PRICE, 200),
        bond=st.integers(0, 60),
        later=st.booleans(),
        stake=st.integers(0, 30),
    )
    def open(self, cap: int, bond: int, later: bool, stake: int) -> None:
        trading = self.trading
        agreement = self.agreement(cap=cap, bond=bond, bond_from_earnings=later, stake=stake)
        arguments = [
            agreement,
            trading.terms,
            trading.sign("department", agreement),
            trading.sign("bank", agreement),
        ]
        bank, department = self.purses["bank"], self.purses["department"]
        if cap > bank.free or (not later and bond > department.free):
            self.refused("not_enough_free", "bank", SETTLEMENT, "open", *arguments)
            return
        trading.send("bank", SETTLEMENT, "open", *arguments)
        bank.free -= cap
        bank.locked += cap
        if not later:
            department.free -= bond
            department.bonded += bond
        self.deals.append(Deal(agreement, bond if later else 0, 0 if later else bond))

    @precondition(lambda self: self.live())
    @rule(which=st.integers(0, 9), amount=st.integers(1, 250))
    def acknowledge(self, which: int, amount: int) -> None:
        deal = self.pick(which)
        total = deal.acknowledged + amount
        voucher = Voucher(
            1, deal.agreement.struct_hash(), 0, deal.seq + 1, deal.seq + 1, total, bytes(32)
        )
        signature = self.trading.sign("bank", voucher)
        claim = ("claimVouchers", deal.agreement, [voucher], [signature])
        if amount > deal.room:
            self.refused("over_cap", "department", SETTLEMENT, *claim)
            return
        self.trading.send("department", SETTLEMENT, *claim)
        self.raise_to(deal, deal.seq + 1, total)
        self.refused("voucher_not_higher", "department", SETTLEMENT, *claim)

    @precondition(lambda self: self.live())
    @rule(which=st.integers(0, 9), together=st.booleans(), amount=st.integers(0, 50))
    def close(self, which: int, together: bool, amount: int) -> None:
        deal = self.pick(which)
        if together:
            self.close_together(deal, min(amount, deal.room))
        else:
            for _ in range(2):
                self.trading.send("bank", SETTLEMENT, "giveNotice", deal.agreement)
            self.refused("window_open", "operator", SETTLEMENT, "close", deal.agreement)
            self.trading.pass_window()
            for _ in range(2):
                self.trading.send("operator", SETTLEMENT, "close", deal.agreement)
        bank, department = self.purses["bank"], self.purses["department"]
        rest = deal.agreement.cap - sum(deal.paid)
        bank.locked -= rest
        bank.free += rest
        department.bonded -= deal.held
        department.free += deal.held
        deal.held, deal.closed = 0, True

    def close_together(self, deal: Deal, amount: int) -> None:
        seq, total = deal.seq + 1, deal.acknowledged + amount
        lane = LaneTotal(0, seq, seq, total)
        final = FinalSettlement(1, deal.agreement.struct_hash(), seq, total, (lane,))
        trading = self.trading
        signatures = [trading.sign(role, final) for role in ("department", "bank")]
        for _ in range(2):
            trading.send(
                "operator", SETTLEMENT, "closeCooperatively", deal.agreement, final, *signatures
            )
        self.raise_to(deal, seq, total)

    # --- Disputes ---------------------------------------------------------------------------------

    @precondition(lambda self: self.live())
    @rule(
        which=st.integers(0, 9),
        contested=st.booleans(),
        answered=st.booleans(),
        ruling=st.sampled_from([None, 0, 3, PRICE]),
    )
    def dispute(self, which: int, contested: bool, answered: bool, ruling: int | None) -> None:
        """The provider claims the last receipt; whoever is silent lets the window pass."""
        deal, trading = self.pick(which), self.trading
        agreement, bank = deal.agreement, self.purses["bank"]
        request, receipt = self.last_call(deal)
        trading.send(
            "department",
            DISPUTES,
            "claimReceipt",
            agreement,
            request,
            trading.sign("bank", request),
            receipt,
            trading.sign("department", receipt),
        )
        contested = contested and bank.free >= agreement.stake
        paid = PRICE if deal.room >= PRICE else 0
        if contested:
            trading.send("bank", DISPUTES, "contest", agreement, receipt, 1, b"\1" * 32)
            paid = 0
            if answered:
                trading.send("department", DISPUTES, "answer", agreement, receipt, b"\2" * 32)
                if ruling is not None and ruling <= deal.room:
                    self.rule_on(deal, receipt, ruling)
                    return
        trading.pass_window()
        for _ in range(2):
            trading.send("operator", DISPUTES, "end", agreement, receipt)
        if paid:
            self.raise_to(deal, receipt.seq, receipt.total_amount)

    def rule_on(self, deal: Deal, receipt: UsageReceipt, amount: int) -> None:
        outcome = {0: RulingOutcome.REFUND, PRICE: RulingOutcome.PAY}.get(
            amount, RulingOutcome.SPLIT
        )
        ruling = Ruling(
            version=1,
            agreement_id=receipt.agreement_id,
            receipt=receipt.struct_hash(),
            outcome=int(outcome),
            amount=amount,
            opinion=bytes(32),
            deadline=FOREVER,
            evidence=(LogPosition(self.trading.member("department"), 1),),
        )
        signature = self.trading.sign("supervisor", ruling)
        self.trading.send("operator", DISPUTES, "rule", deal.agreement, receipt, ruling, signature)
        stake = deal.agreement.stake
        if amount:
            self.raise_to(deal, receipt.seq, deal.acknowledged + amount)
        if outcome == RulingOutcome.PAY:
            self.give("bank", "department", stake, bonded=False)
        if outcome == RulingOutcome.REFUND:
            self.take(deal, "bank", stake)

    @precondition(lambda self: self.deals)
    @rule(which=st.integers(0, 9))
    def equivocate(self, which: int) -> None:
        """Two receipts for one place, also of a closed agreement, whose bond is released."""
        deal = self.deals[which % len(self.deals)]
        _, receipt = self.last_call(deal)
        other = replace(receipt, response_commitment=b"\7" * 32)
        signed = [self.trading.sign("department", one) for one in (receipt, other)]
        arguments = [deal.agreement, receipt, signed[0], other, signed[1]]
        for _ in range(2):
            self.trading.send("operator", DISPUTES, "proveEquivocation", *arguments)
        self.take(deal, "bank", deal.held)

    @precondition(lambda self: self.deals)
    @rule(which=st.integers(0, 9), amount=st.integers(1, 80))
    def fine(self, which: int, amount: int) -> None:
        deal, ledger = self.deals[which % len(self.deals)], self.trading.ledger
        decision = self.next_id()
        arguments = [deal.agreement, amount, self.trading.member("operator"), decision]
        self.refused("only_governors", "supervisor", DISPUTES, "fine", *arguments)
        address, data = ledger.encode(DISPUTES, "fine", *arguments)
        for _ in range(2):
            self.trading.governance.execute("actOn", address, data)
        self.take(deal, "operator", amount)

    # --- What must hold ---------------------------------------------------------------------------

    @invariant()
    def chain_and_model_agree(self) -> None:
        settlement = self.trading.ledger.settlement
        for role, purse in self.purses.items():
            assert settlement.account(self.trading.member(role)) == purse.record(), role
        for deal in self.deals:
            record = settlement.agreement(deal.agreement.struct_hash())
            assert record.acknowledged == deal.acknowledged
            assert (record.paid, record.bond_held) == (sum(deal.paid), deal.held)
            assert record.pending == 0

    @invariant()
    def nothing_is_made_or_lost(self) -> None:
        settlement, member = self.trading.ledger.settlement, self.trading.member
        agreements = {
            deal.agreement.struct_hash(): AgreementMoney(
                member("department"),
                member("bank"),
                settlement.agreement(deal.agreement.struct_hash()),
            )
            for deal in self.deals
        }
        books = Books(
            totals=settlement.totals(),
            accounts={
                member(role): settlement.account(member(role)) for role in self.trading.people
            },
            agreements=agreements,
            stakes={},
            complete=True,
        )
        assert discrepancies(books) == []

    # --- Parts ------------------------------------------------------------------------------------

    def live(self) -> list[Deal]:
        return [deal for deal in self.deals if not deal.closed]

    def pick(self, which: int) -> Deal:
        live = self.live()
        return live[which % len(live)]

    def next_id(self) -> bytes:
        self.number += 1
        return self.number.to_bytes(32, "big")

    def refused(self, code: str, role: str, contract: str, function: str, *arguments: Any) -> None:
        with pytest.raises(Reverted) as refused:
            self.trading.send(role, contract, function, *arguments)
        assert refused.value.code == code

    def raise_to(self, deal: Deal, seq: int, total: int) -> None:
        """Acknowledge a lane's total, and pay each share its part of it, rounded down."""
        deal.seq, deal.acknowledged = seq, total
        for index, role in enumerate(("department", "operator")):
            due = total * SHARES[index] // 10_000
            part, deal.paid[index] = due - deal.paid[index], due
            self.pay(deal, role, part)

    def pay(self, deal: Deal, role: str, part: int) -> None:
        bank, purse = self.purses["bank"], self.purses[role]
        withheld = min(deal.due, part) if role == "department" else 0
        deal.due -= withheld
        deal.held += withheld
        bank.locked -= part
        bank.spent += part
        purse.earned += part
        purse.free += part - withheld
        purse.bonded += withheld

    def take(self, deal: Deal, to: str, at_most: int) -> None:
        taken = min(deal.held, at_most)
        deal.held -= taken
        self.give("department", to, taken, bonded=True)

    def give(self, payer: str, to: str, amount: int, *, bonded: bool) -> None:
        """From what a member has bonded, or free until this step bonded it, to another's free."""
        purse = self.purses[payer]
        if bonded:
            purse.bonded -= amount
        else:
            purse.free -= amount
        purse.spent += amount
        self.purses[to].free += amount
        self.purses[to].earned += amount

    def agreement(self, **terms: Any) -> Agreement:
        member, terms_of = self.trading.member, self.trading.terms
        keys = {
            role: self.trading.people[role].signers[KeyPurpose.STATEMENT].address
            for role in ("department", "bank")
        }
        wanted = Agreement(
            version=2,
            grant_id=terms_of.struct_hash(),
            asset_id=terms_of.asset_id,
            asset_version=1,
            provider=member("department"),
            buyer=member("bank"),
            provider_key=keys["department"],
            buyer_key=keys["bank"],
            purpose=terms_of.purpose,
            unit=int(MeteredUnit.CALL),
            price=PRICE,
            cap=PRICE,
            max_units=0,
            max_per_call=PRICE,
            lanes=1,
            starts_at=1,
            ends_at=FOREVER,
            open_before=FOREVER,
            close_window_blocks=WINDOW,
            close_window_seconds=WINDOW,
            arbiter=member("supervisor"),
            bond=0,
            bond_from_earnings=False,
            stake=0,
            shares=(Share(member("department"), SHARES[0]), Share(member("operator"), SHARES[1])),
            nonce=self.next_id(),
        )
        return replace(wanted, **terms)

    def last_call(self, deal: Deal) -> tuple[UsageRequest, UsageReceipt]:
        """A request that acknowledges all before, at a position that no receipt was made for, and
        the receipt of one unit for it.
        """
        seq = deal.tried = max(deal.seq, deal.tried) + 1
        agreement_id = deal.agreement.struct_hash()
        request = UsageRequest(
            version=1,
            agreement_id=agreement_id,
            lane=0,
            seq=seq,
            max_units=1,
            max_amount=PRICE,
            acknowledged_units=deal.seq,
            acknowledged_amount=deal.acknowledged,
            previous_receipt=bytes(32),
            request_commitment=bytes(32),
            expiry=FOREVER,
        )
        receipt = replace(
            example(UsageReceipt),
            version=1,
            agreement_id=agreement_id,
            lane=0,
            seq=seq,
            request=request.struct_hash(),
            outcome=int(UsageOutcome.SERVED),
            reason="",
            units=1,
            amount=PRICE,
            total_units=deal.seq + 1,
            total_amount=deal.acknowledged + PRICE,
        )
        return request, receipt


@pytest.fixture(scope="module")
def trading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trading]:
    url, process = anvil.start(tmp_path_factory.mktemp("chain") / "anvil.log", keeps_history=True)
    try:
        made = Trading(url)
        yield made
        made.ledger.close()
    finally:
        anvil.end(process)


def run_machine(trading: Trading, *, examples: int, steps: int) -> None:
    class Bound(MoneyMachine):
        pass

    Bound.trading = trading
    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_no_fen_is_made_lost_or_stuck(trading: Trading) -> None:
    run_machine(trading, examples=4, steps=12)


@pytest.mark.long
def test_no_fen_is_made_lost_or_stuck_in_long_trades(trading: Trading) -> None:
    run_machine(trading, examples=100, steps=50)
