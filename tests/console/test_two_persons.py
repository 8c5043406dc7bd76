"""Acts that two persons do together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nodes.console.accounts import service as accounts
from nodes.console.accounts.model import AccountState, PersonRole
from nodes.console.acts import service as acts
from nodes.console.acts.model import ActFilter
from nodes.console.approvals.service import PROPOSAL_SECONDS
from registry.pages import PageRequest
from tests.support.console import BASE, ConsolePerson, TestConsole, running_console


@pytest.fixture
def console(tmp_path: Path) -> Iterator[TestConsole]:
    with running_console(tmp_path, two_persons=("account.disable",)) as made:
        yield made


def disable(console: TestConsole, person: ConsolePerson, login: str) -> tuple[int, str]:
    page = f"/accounts/{console.account_id(login)}"
    answer = person.post(f"{page}/disable", person.hidden(page), referer=f"{BASE}{page}")
    return answer.status_code, answer.headers.get("location", answer.text)


def state_of(console: TestConsole, login: str) -> AccountState:
    return accounts.account(console.context, console.account_id(login)).state


def test_one_person_proposes_and_another_confirms(console: TestConsole) -> None:
    console.person(PersonRole.CLERK, login="wang")
    first, second = (console.person(PersonRole.ADMINISTRATOR) for _ in range(2))
    page = f"/accounts/{console.account_id('wang')}"
    assert disable(console, first, "wang") == (303, "/approvals")
    assert state_of(console, "wang") == AccountState.ACTIVE
    assert f'href="{page}"' in second.page("/approvals")
    assert f'href="{page}"' not in first.page("/approvals")
    assert disable(console, second, "wang") == (303, page)
    assert state_of(console, "wang") == AccountState.DISABLED
    assert "Nothing is waiting" in second.page("/approvals")
    rows = acts.listing(console.context, ActFilter(kind="change"), PageRequest()).rows
    assert [row.outcome for row in rows] == ["done", "begun", "proposed"]
    assert rows[0].account_id == rows[1].account_id != rows[2].account_id


def test_the_same_person_confirms_nothing(console: TestConsole) -> None:
    console.person(PersonRole.CLERK, login="wang")
    first = console.person(PersonRole.ADMINISTRATOR)
    disable(console, first, "wang")
    status, text = disable(console, first, "wang")
    assert (status, "second_person_needed" in text) == (403, True)
    assert state_of(console, "wang") == AccountState.ACTIVE


def test_a_proposal_ends_after_a_week(console: TestConsole) -> None:
    console.person(PersonRole.CLERK, login="wang")
    first = console.person(PersonRole.ADMINISTRATOR)
    disable(console, first, "wang")
    console.clock.at += PROPOSAL_SECONDS + 1
    second = console.person(PersonRole.ADMINISTRATOR)
    assert disable(console, second, "wang") == (303, "/approvals")
    assert state_of(console, "wang") == AccountState.ACTIVE


def test_a_confirmation_that_is_refused_leaves_the_proposal(console: TestConsole) -> None:
    first = console.person(PersonRole.ADMINISTRATOR, login="root")
    second = console.person(PersonRole.ADMINISTRATOR, login="root-2")
    disable(console, first, "root-2")
    accounts.set_roles(console.context, console.account_id("root"), [PersonRole.CLERK])
    status, text = disable(console, second, "root-2")
    assert (status, "last_administrator" in text) == (409, True)
    assert "account.disable" in second.page("/approvals")


def test_a_form_of_another_action_needs_one_person(console: TestConsole) -> None:
    console.person(PersonRole.CLERK, login="wang")
    administrator = console.person(PersonRole.ADMINISTRATOR)
    page = f"/accounts/{console.account_id('wang')}"
    answer = administrator.send(page, f"{page}/roles", {"roles": ["auditor"]})
    assert answer.headers["location"] == page
