"""Pages of members and proposals: who sees them, and bad input."""

from __future__ import annotations

import pytest

from nodes.console.accounts.model import PersonRole
from tests.support.console import TestConsole


def test_everybody_sees_the_members(console: TestConsole) -> None:
    for role in PersonRole:
        assert "has not read the directory" in console.person(role).page("/members")


def test_an_unknown_member_is_refused_clearly(console: TestConsole) -> None:
    clerk = console.person(PersonRole.CLERK)
    for path in ("/members/nobody", "/members/%3Cscript%3E"):
        answer = clerk.get(path)
        assert (answer.status_code, "member_unknown" in answer.text) == (404, True)
        assert "<script>" not in answer.text.replace("<script src", "")


@pytest.mark.parametrize(
    "role", [PersonRole.CLERK, PersonRole.CHIEF_DATA_OFFICER, PersonRole.MODELLER]
)
def test_proposals_are_for_administrators_and_auditors(
    console: TestConsole, role: PersonRole
) -> None:
    person = console.person(role)
    answer = person.get("/proposals")
    assert (answer.status_code, "person_role_missing" in answer.text) == (403, True)
    assert 'href="/proposals"' not in person.page("/")
    assert "There is no proposal" in console.person(PersonRole.ADMINISTRATOR).page("/proposals")


def test_an_auditor_approves_nothing(console: TestConsole) -> None:
    auditor = console.person(PersonRole.AUDITOR)
    path = f"/proposals/0x{'33' * 32}"
    assert "proposal_unknown" in auditor.get(path).text
    fields = {**auditor.hidden("/account"), "statement": "{}"}
    answer = auditor.post(f"{path}/approval", fields)
    assert (answer.status_code, "person_role_missing" in answer.text) == (403, True)
