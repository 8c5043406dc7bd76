"""Pages of metered calls: guards, bad input, the list of what is unanswered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chain.statements.examples import example
from chain.statements.grants import GrantTerms
from chain.statements.members import Role
from chain.statements.trade import Agreement
from nodes.console.accounts.model import PersonRole
from registry.grants import store as grants
from registry.grants.model import DisclosedScope
from tests.console.test_agreements import stored
from tests.support.console import ConsolePerson, TestConsole, running_console

AGREEMENT = "0x" + "22" * 32


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[TestConsole]:
    """A bank's console."""
    with running_console(tmp_path) as made:
        made.context.roles = Role.BANK
        yield made


def form(person: ConsolePerson, **changed: str) -> dict[str, str]:
    hidden = person.hidden("/account")
    return {
        "csrf": hidden["csrf"],
        "form_key": hidden["form_key"],
        "subject": "92440700MA4WTEYT1T",
        "columns": "age",
    } | changed


def test_a_list_without_calls_says_where_to_make_one(bank: TestConsole) -> None:
    assert "no call yet" in bank.person(PersonRole.CLERK).page("/calls")


def test_the_form_offers_the_columns_of_the_grant(bank: TestConsole) -> None:
    agreement = stored(bank)
    clerk = bank.person(PersonRole.CLERK)
    answer = clerk.get(f"/calls/new?agreement={agreement}")
    assert (answer.status_code, "grant_unknown" in answer.text) == (404, True)
    grant_id = "0x" + example(Agreement).grant_id.hex()
    terms, scope = example(GrantTerms), DisclosedScope({"columns": ["age", "area"]}, bytes(32))
    bank.context.database.write(
        lambda session: session.add(
            grants.GrantRow(
                grant_id=bytes.fromhex(grant_id[2:]),
                owner=terms.owner,
                grantee=terms.grantee,
                terms=terms.to_json(),
                scope=dict(scope.record),
                scope_salt=scope.salt,
            )
        )
    )
    page = clerk.page(f"/calls/new?agreement={agreement}")
    assert page.count('name="columns"') == 2
    assert "1.23" in page


def test_a_call_under_an_unknown_agreement_is_refused(bank: TestConsole) -> None:
    clerk = bank.person(PersonRole.CLERK)
    for answer in (
        clerk.get(f"/calls/new?agreement={AGREEMENT}"),
        clerk.post(f"/calls/new?agreement={AGREEMENT}", form(clerk)),
    ):
        assert (answer.status_code, "unknown_agreement" in answer.text) == (404, True)


@pytest.mark.parametrize("changed", [{"subject": ""}, {"columns": ""}, {"subject": "x" * 257}])
def test_a_malformed_call_is_refused(bank: TestConsole, changed: dict[str, str]) -> None:
    clerk = bank.person(PersonRole.CLERK)
    answer = clerk.post(f"/calls/new?agreement={AGREEMENT}", form(clerk, **changed))
    assert answer.status_code in (404, 422)
    assert "/calls/" not in answer.headers.get("location", "")


def test_the_result_of_an_unknown_call_is_refused_clearly(bank: TestConsole) -> None:
    clerk = bank.person(PersonRole.CLERK)
    for key in ("nothing", "report/report/0"):  # a report's calls have slashes in their keys
        answer = clerk.get(f"/calls/{key}")
        assert (answer.status_code, "call_unknown" in answer.text) == (404, True)
    proof = clerk.get(f"/calls/bundle.json?agreement={AGREEMENT}&lane=0&seq=1")
    assert (proof.status_code, "unknown_agreement" in proof.text) == (404, True)


@pytest.mark.parametrize(
    "role", [PersonRole.AUDITOR, PersonRole.CHIEF_DATA_OFFICER, PersonRole.ADMINISTRATOR]
)
def test_nobody_but_a_clerk_calls(bank: TestConsole, role: PersonRole) -> None:
    person = bank.person(role)
    answer = person.post(f"/calls/new?agreement={AGREEMENT}", form(person))
    assert (answer.status_code, "person_role_missing" in answer.text) == (403, True)


def test_a_department_has_no_pages_of_calls(console: TestConsole) -> None:
    console.context.roles = Role.DEPARTMENT
    clerk = console.person(PersonRole.CLERK)
    answer = clerk.get("/calls")
    assert (answer.status_code, "page_of_another_role" in answer.text) == (403, True)
    assert 'href="/calls"' not in clerk.page("/")
