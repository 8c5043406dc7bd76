"""Pages of disputes: what is shown, who may act, and bad input."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.orm import Session

from chain.statements.examples import example
from chain.statements.trade import Agreement, UsageReceipt
from exchange.agreements import store as agreements
from exchange.agreements.model import AgreementSide, AgreementStage
from exchange.disputes import store
from nodes.console.accounts.model import PersonRole
from tests.support.console import MEMBER, TestConsole

OTHER = "11440700MB2C62171K"


def stored(console: TestConsole, *, contested: bool = False) -> str:
    """A claimed receipt in the buyer's database; its id."""
    agreement = replace(example(Agreement), provider=OTHER, buyer=MEMBER, arbiter="", stake=2_000)
    receipt = replace(example(UsageReceipt), agreement_id=agreement.struct_hash(), amount=12_345)

    def add(session: Session) -> None:
        agreements.add(
            session,
            agreements.AgreementRow(
                agreement_id=agreement.struct_hash(),
                agreement=agreement.to_json(),
                provider=OTHER,
                buyer=MEMBER,
                side=AgreementSide.BUYER.value,
                state=AgreementStage.OPEN.value,
                paid=0,
                refunded=0,
            ),
        )
        row = store.DisputeRow(
            receipt_id=receipt.struct_hash(),
            agreement_id=agreement.struct_hash(),
            receipt=receipt.to_json(),
            claimed_at=17,
        )
        if contested:
            row.contested_at, row.reason = 18, 2
        store.put(session, row)

    console.context.database.write(add)
    return "0x" + receipt.struct_hash().hex()


def test_a_dispute_is_listed_and_shown_in_both_languages(console: TestConsole) -> None:
    dispute = stored(console, contested=True)
    clerk = console.person(PersonRole.CLERK)
    listed = clerk.page("/disputes")
    assert "123.45" in listed
    assert "the provider must serve the answer again" in listed
    detail = clerk.page(f"/disputes/{dispute}")
    assert "The answer is not what the receipt commits to" in detail
    assert "20.00" in detail
    clerk.language = "zh-CN"
    assert "待提供方再次提供应答" in clerk.page("/disputes?live=yes")


def test_only_a_clerk_contests_and_bad_input_is_refused(console: TestConsole) -> None:
    dispute = stored(console)
    path = f"/disputes/{dispute}/contest"
    auditor = console.person(PersonRole.AUDITOR)
    answer = auditor.post(path, auditor.hidden("/account") | {"reason": "1"})
    assert (answer.status_code, "person_role_missing" in answer.text) == (403, True)
    clerk = console.person(PersonRole.CLERK)
    for reason in ("0", "7", "no_answer", ""):
        wrong = clerk.post(path, clerk.hidden("/account") | {"reason": reason})
        assert wrong.status_code == 422
    unknown = clerk.get("/disputes/0x" + "11" * 32)
    assert (unknown.status_code, "unknown_dispute" in unknown.text) == (404, True)
