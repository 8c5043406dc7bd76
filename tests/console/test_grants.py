"""Pages of grants: who may do what, what is shown of strangers' texts, what an officer signs."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace

import pytest
from sqlalchemy.orm import Session

from chain.statements.examples import example
from chain.statements.grants import GrantTerms
from nodes.console.accounts.model import PersonRole
from registry.grants import store
from registry.grants.model import DisclosedScope
from tests.support.console import MEMBER, TestConsole

OTHER = "11440700MB2C62171K"
SCRIPT = "<script>alert(1)</script>江门（测试）𠮷"


def stored(console: TestConsole, *, owner: str = MEMBER, requested: bool = True) -> str:
    """A grant in the node's database; its id."""
    grantee = OTHER if owner == MEMBER else MEMBER
    terms = replace(
        example(GrantTerms), owner=owner, grantee=grantee, purpose="statistics", operations=5
    )
    scope = DisclosedScope({"columns": ["age", SCRIPT]}, b"\x07" * 32)

    def add(session: Session) -> None:
        store.add_grant(session, terms, scope)
        store.set_scope(session, terms.struct_hash(), scope)
        if requested:
            session.flush()
            found = session.get(store.GrantRow, terms.struct_hash())
            assert found is not None
            found.requested_at = 7

    console.context.database.write(add)
    return "0x" + terms.struct_hash().hex()


def test_a_grant_that_waits_names_whose_turn_it_is(console: TestConsole) -> None:
    grant = stored(console)
    clerk = console.person(PersonRole.CLERK)
    assert "waits for a decision" in clerk.page("/grants")
    page = clerk.page(f"/grants/{grant}")
    assert "the turn of this organisation" in html.unescape(page)
    assert "Approve…" not in page
    officer = console.person(PersonRole.CHIEF_DATA_OFFICER)
    assert "Approve…" in officer.page(f"/grants/{grant}")


def test_text_of_a_stranger_is_no_markup(console: TestConsole) -> None:
    grant = stored(console)
    for role in (PersonRole.CLERK, PersonRole.CHIEF_DATA_OFFICER):
        page = console.person(role).page(f"/grants/{grant}")
        assert "<script>alert" not in page
        assert html.escape(SCRIPT) in page


def test_an_officer_signs_the_decision_about_this_grant(console: TestConsole) -> None:
    grant = stored(console)
    officer = console.person(PersonRole.CHIEF_DATA_OFFICER)
    for path, expected in (
        ("decision?approved=true", {"approved": True, "reason": ""}),
        ("decision?reason=misuse", {"approved": False, "reason": "misuse"}),
        ("revocation?reason=purpose-ended", {"reason": "purpose-ended"}),
    ):
        page = officer.page(f"/grants/{grant}/{path}")
        found = re.search(r'name="statement" value="([^"]*)"', page)
        assert found
        statement = json.loads(html.unescape(found[1]))
        assert statement["grantId"] == grant
        assert expected.items() <= statement.items()


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("decision", 422, "reason_missing"),
        ("decision?reason=%3Cb%3E", 422, "reason_malformed"),
        ("revocation", 422, "reason_missing"),
    ],
)
def test_a_refusal_needs_a_reason(console: TestConsole, path: str, status: int, code: str) -> None:
    grant = stored(console)
    answer = console.person(PersonRole.CHIEF_DATA_OFFICER).get(f"/grants/{grant}/{path}")
    assert (answer.status_code, code in answer.text) == (status, True)


@pytest.mark.parametrize("role", [PersonRole.CLERK, PersonRole.AUDITOR, PersonRole.ADMINISTRATOR])
def test_nobody_but_the_officer_decides(console: TestConsole, role: PersonRole) -> None:
    grant = stored(console)
    person = console.person(role)
    for path in ("decision?approved=true", "revocation?reason=misuse"):
        answer = person.get(f"/grants/{grant}/{path}")
        assert (answer.status_code, "person_role_missing" in answer.text) == (403, True)
    csrf = person.hidden("/account")["csrf"]
    answer = person.post(
        f"/grants/{grant}/decision", {"csrf": csrf, "form_key": "k" * 43, "statement": "{}"}
    )
    assert answer.status_code == 403


def test_a_received_grant_is_not_decided_here(console: TestConsole) -> None:
    grant = stored(console, owner=OTHER)
    officer = console.person(PersonRole.CHIEF_DATA_OFFICER)
    assert "received" in officer.page("/grants")
    assert "Approve…" not in officer.page(f"/grants/{grant}")
    answer = officer.get(f"/grants/{grant}/decision?approved=true")
    assert (answer.status_code, "grant_of_others" in answer.text) == (403, True)


@pytest.mark.parametrize("grant", ["0x" + "00" * 32, "0x12", "x"])
def test_an_unknown_grant_is_refused_clearly(console: TestConsole, grant: str) -> None:
    answer = console.person(PersonRole.CLERK).get(f"/grants/{grant}")
    assert answer.status_code in (404, 422)
    assert "grant_unknown" in answer.text or "malformed" in answer.text


def test_a_list_shows_one_state(console: TestConsole) -> None:
    stored(console)
    clerk = console.person(PersonRole.CLERK)
    assert OTHER in clerk.page("/grants?state=requested")
    assert OTHER not in clerk.page("/grants?state=approved")
    answer = clerk.get("/grants?state=nothing")
    assert (answer.status_code, "grant_state_unknown" in answer.text) == (422, True)


def test_an_asset_of_another_is_asked_for_with_a_form(console: TestConsole) -> None:
    clerk = console.person(PersonRole.CLERK)
    asset = "0x" + "00" * 32
    answer = clerk.get(f"/grants/request?asset={asset}")
    assert (answer.status_code, "asset_unknown" in answer.text) == (404, True)
    assert (
        console.person(PersonRole.AUDITOR).get(f"/grants/request?asset={asset}").status_code == 403
    )
