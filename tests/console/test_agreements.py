"""Pages of agreements: what is shown, who may order and end, and bad input."""

from __future__ import annotations

import html
from dataclasses import replace

import pytest
from sqlalchemy.orm import Session

from chain.statements.examples import example
from chain.statements.grants import GrantTerms
from chain.statements.trade import Agreement, MeteredUnit
from exchange.agreements import store
from exchange.agreements.model import AgreementSide, AgreementStage
from nodes.console.accounts.model import PersonRole
from tests.support.console import MEMBER, ConsolePerson, TestConsole

OTHER = "11440700MB2C62171K"
SCRIPT = "<script>alert(1)</script>江门（测试）𠮷"


def stored(
    console: TestConsole, *, state: AgreementStage = AgreementStage.OPEN, reason: str = ""
) -> str:
    """An agreement in the buyer's database; its id."""
    agreement = replace(
        example(Agreement),
        provider=OTHER,
        buyer=MEMBER,
        unit=int(MeteredUnit.CALL),
        price=123,
        cap=1_234_500,
        purpose="statistics",
    )

    def add(session: Session) -> None:
        row = store.AgreementRow(
            agreement_id=agreement.struct_hash(),
            agreement=agreement.to_json(),
            terms=example(GrantTerms).to_json(),
            provider=OTHER,
            buyer=MEMBER,
            side=AgreementSide.BUYER.value,
            state=state.value,
            reason_text=reason or None,
            provider_signature=b"",
            buyer_signature=b"\x01" * 65,
            paid=50,
            refunded=0,
        )
        store.add(session, row)

    console.context.database.write(add)
    return "0x" + agreement.struct_hash().hex()


def test_an_agreement_shows_its_terms_in_yuan(console: TestConsole) -> None:
    agreement = stored(console)
    clerk = console.person(PersonRole.CLERK)
    page = clerk.page("/agreements")
    assert "12,345.00" in page
    assert f'href="/proofs/agreements/{agreement}"' in page
    detail = clerk.page(f"/agreements/{agreement}")
    assert "1.23 / call" in detail
    assert OTHER in detail
    clerk.language = "zh-CN"
    assert "1.23 / 次调用" in clerk.page(f"/agreements/{agreement}")
    assert "履行中" in clerk.page("/agreements")


def test_only_a_clerk_ends_an_agreement(console: TestConsole) -> None:
    agreement = stored(console)
    path = f"/agreements/{agreement}"
    assert "End the agreement" in console.person(PersonRole.CLERK).page(path)
    auditor = console.person(PersonRole.AUDITOR)
    assert "End the agreement" not in auditor.page(path)
    answer = auditor.post(f"{path}/closing", auditor.hidden("/account"))
    assert (answer.status_code, "person_role_missing" in answer.text) == (403, True)
    administrator = console.person(PersonRole.ADMINISTRATOR)
    assert administrator.get(path).status_code == 403


def test_an_ended_agreement_has_no_button_to_end_it(console: TestConsole) -> None:
    agreement = stored(console, state=AgreementStage.FAILED, reason=SCRIPT)
    page = console.person(PersonRole.CLERK).page(f"/agreements/{agreement}")
    assert "End the agreement" not in page
    assert html.escape(SCRIPT) in page
    assert "<script>alert" not in page


def order_form(person: ConsolePerson, **changed: str) -> dict[str, str]:
    hidden = person.hidden("/account")
    return {
        "csrf": hidden["csrf"],
        "form_key": hidden["form_key"],
        "offer": "0x" + "11" * 32,
        "cap": "100.00",
        "days": "30",
    } | changed


@pytest.mark.parametrize(
    "changed",
    [
        {"cap": "-1"},
        {"max_units": "-1"},
        {"cap": "1.234"},
        {"cap": "abc"},
        {"cap": "1e99"},
        {"days": "0"},
        {"days": "99999"},
        {"extra": "1"},
    ],
)
def test_a_malformed_order_is_refused_before_anything_is_signed(
    console: TestConsole, changed: dict[str, str]
) -> None:
    clerk = console.person(PersonRole.CLERK)
    answer = clerk.post(f"/agreements/order?grant=0x{'22' * 32}", order_form(clerk, **changed))
    assert answer.status_code == 422
    with console.context.database.read() as session:
        assert session.query(store.AgreementRow).count() == 0


def test_an_order_under_an_unknown_grant_is_refused(console: TestConsole) -> None:
    clerk = console.person(PersonRole.CLERK)
    path = f"/agreements/order?grant=0x{'22' * 32}"
    assert "grant_unknown" in clerk.get(path).text
    answer = clerk.post(path, order_form(clerk))
    assert (answer.status_code, "grant_unknown" in answer.text) == (404, True)


@pytest.mark.parametrize("role", [PersonRole.AUDITOR, PersonRole.ADMINISTRATOR])
def test_nobody_but_a_clerk_orders(console: TestConsole, role: PersonRole) -> None:
    person = console.person(role)
    path = f"/agreements/order?grant=0x{'22' * 32}"
    assert person.get(path).status_code == 403
    assert person.post(path, order_form(person)).status_code == 403


def test_an_unknown_agreement_is_refused_clearly(console: TestConsole) -> None:
    answer = console.person(PersonRole.CLERK).get(f"/agreements/0x{'00' * 32}")
    assert (answer.status_code, "unknown_agreement" in answer.text) == (404, True)
