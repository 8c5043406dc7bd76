"""A bank's pages: calls by file, spending, consents and credit reports, without a chain."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from chain.statements.examples import example
from chain.statements.grants import GrantTerms
from chain.statements.members import Role
from chain.statements.trade import Agreement
from exchange.call_files import service
from exchange.call_files.model import RowState
from nodes.console.accounts.model import PersonRole
from nodes.console.exports import identifier_cell
from registry.grants import store as grants
from registry.pages import PageRequest
from tests.console.test_agreements import stored
from tests.console.test_pages import add_asset
from tests.exchange.test_spending import call
from tests.support.console import BASE, ConsolePerson, TestConsole, running_console

TABLE = "主体,名称\nA1,甲\n9.24407E+17,乙\n440701199001010010,丙\nA1,甲\n"
HOSTILE = "江门（测试）𠮷<img src=x onerror=alert(1)>.csv"


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[TestConsole]:
    """A bank's console."""
    with running_console(tmp_path, roles=Role.BANK) as made:
        yield made


@pytest.fixture
def agreement(bank: TestConsole) -> str:
    """An open agreement under a grant of two columns, at 1.23 yuan a call; its id."""
    terms = example(GrantTerms)
    row = grants.GrantRow(
        grant_id=example(Agreement).grant_id,
        owner=terms.owner,
        grantee=terms.grantee,
        terms=terms.to_json(),
        scope={"columns": ["age", "area"]},
        scope_salt=bytes(32),
    )
    bank.context.database.write(lambda session: session.add(row))
    return stored(bank)


def upload(
    person: ConsolePerson, agreement: str, content: bytes, name: str = "subjects.csv"
) -> httpx.Response:
    path = f"/call-files/new?agreement={agreement}"
    answer: httpx.Response = person.http.post(
        path,
        data={**person.hidden(path), "columns": ["age"]},
        files={"table": (name, content, "text/csv")},
        headers={"origin": BASE, "accept-language": person.language},
    )
    return answer


def test_a_file_is_checked_cell_by_cell_and_priced(bank: TestConsole, agreement: str) -> None:
    clerk = bank.person(PersonRole.CLERK)
    answer = upload(clerk, agreement, TABLE.encode("gb18030"), HOSTILE)
    assert answer.status_code == 303, answer.text
    page = clerk.page(answer.headers["location"])
    assert html.escape(HOSTILE) in page
    assert "<img src=x" not in page
    for code in ("subject_rounded", "subject_check_character", "row_repeated"):
        assert code in page
    assert "<strong>1.23</strong>" in page
    assert "名称" in page, "a column that was not stored is named"
    assert "Start the calls" in page
    clerk.language = "zh-CN"
    assert "电子表格" in clerk.page(answer.headers["location"])
    failed = clerk.page(answer.headers["location"] + "?failed=true")
    assert failed.count("<tr>") == 4


def test_a_file_sent_twice_is_one_file(bank: TestConsole, agreement: str) -> None:
    clerk = bank.person(PersonRole.CLERK)
    path = f"/call-files/new?agreement={agreement}"
    fields = {**clerk.hidden(path), "columns": ["age"]}
    sent = [
        clerk.http.post(
            path,
            data=fields,
            files={"table": ("a.csv", b"subject\nA1\n", "text/csv")},
            headers={"origin": BASE},
        )
        for _ in range(2)
    ]
    assert {answer.headers["location"] for answer in sent} == {sent[0].headers["location"]}
    assert len(service.listing(bank.context, PageRequest()).rows) == 1


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"PK\x03\x04", "file_not_text"),
        (b"name\nA1\n", "file_header_missing"),
        (b"", "file_header_missing"),
        (b"subject\n", "file_empty"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(
    bank: TestConsole, agreement: str, content: bytes, code: str
) -> None:
    clerk = bank.person(PersonRole.CLERK)
    answer = upload(clerk, agreement, content)
    assert (answer.status_code, code in answer.text) == (422, True)
    assert service.listing(bank.context, PageRequest()).rows == []


def test_a_file_of_calls_over_the_limit_is_refused(bank: TestConsole, agreement: str) -> None:
    clerk = bank.person(PersonRole.CLERK)
    content = b"subject\n" + b"A1\n" * (bank.config.limits.body_bytes // 3)
    answer = upload(clerk, agreement, content)
    assert (answer.status_code, "body_too_large" in answer.text) == (413, True)
    assert service.listing(bank.context, PageRequest()).rows == []


def test_a_file_is_started_stopped_and_deleted(bank: TestConsole, agreement: str) -> None:
    clerk = bank.person(PersonRole.CLERK)
    path = upload(clerk, agreement, b"subject\nA1\nA2\n").headers["location"]
    assert clerk.send(path, f"{path}/start", {}).headers["location"] == path
    running = clerk.page(path)
    assert "hx-get" in running
    assert "Delete the file" not in running
    again = clerk.send(path, f"{path}/start", {})
    assert (again.status_code, "file_not_startable" in again.text) == (409, True)
    partial = clerk.get(path, **{"hx-request": "true"}).text
    assert partial.lstrip().startswith('<div id="call-file"')
    clerk.send(path, f"{path}/stop", {})
    assert "Resume" in clerk.page(path)
    assert clerk.send(path, f"{path}/removal", {}).headers["location"] == "/call-files"
    answer = clerk.get(path)
    assert (answer.status_code, "call_file_unknown" in answer.text) == (404, True)


def test_results_run_no_formula_and_lose_no_digit(bank: TestConsole, agreement: str) -> None:
    clerk = bank.person(PersonRole.CLERK)
    citizen = "44070119900101001X"
    content = f"subject\n=1+1\n{citizen}\n110101199003070011\n0012\n".encode()
    path = upload(clerk, agreement, content).headers["location"]
    answer = clerk.get(f"{path}/results.csv")
    rows = list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert rows[0][:2] == ["Line", "Subject"]
    assert rows[0][-1] == "age"
    assert [row[1] for row in rows[1:]] == ["'=1+1", citizen, "'110101199003070011", "'0012"]
    assert identifier_cell("440701") == "440701"
    assert identifier_cell("0") == "0"


@pytest.mark.parametrize("role", [PersonRole.AUDITOR, PersonRole.CHIEF_DATA_OFFICER])
def test_nobody_but_a_clerk_hands_in_or_starts(
    bank: TestConsole, agreement: str, role: PersonRole
) -> None:
    clerk, other = bank.person(PersonRole.CLERK), bank.person(role)
    path = upload(clerk, agreement, b"subject\nA1\n").headers["location"]
    answer = other.post(f"{path}/start", other.hidden("/account"))
    assert (answer.status_code, "person_role_missing" in answer.text) == (403, True)
    found = service.rows(bank.context, path.rsplit("/", 1)[1], PageRequest()).rows
    assert [row.state for row in found] == [RowState.WAITING]


def test_spending_is_shown_to_the_fen_with_its_alarm(bank: TestConsole, agreement: str) -> None:
    identifier = bytes.fromhex(agreement[2:])
    now = int(bank.clock.at)

    def add(session: object) -> None:
        from exchange.agreements.store import AgreementRow

        session.get(AgreementRow, identifier).opened_at = 7  # type: ignore[attr-defined]
        session.add_all(  # type: ignore[attr-defined]
            [
                call(identifier, 0, 1, now - 40 * 86_400, 100_001),
                call(identifier, 0, 2, now, 1_100_003),
            ]
        )

    bank.context.database.write(add)
    auditor = bank.person(PersonRole.AUDITOR)
    page = auditor.page("/spending")
    assert page.count("11,000.03") == 2, "the total and the agreement's line"
    assert "10,000.02" in page, "this month"
    assert "1,000.01" in page, "the month before the last"
    assert "At least 80 per cent of the cap is used." in page
    assert "data-chart" in page
    detail = auditor.page(f"/agreements/{agreement}")
    assert "11,000.03" in detail
    assert "At least 80 per cent of the cap is used." in detail
    rows = list(csv.reader(io.StringIO(auditor.get("/spending.csv").text.removeprefix("\ufeff"))))
    assert rows[1][0] == agreement
    assert rows[1][3] == "11000.03"
    assert sum(round(float(cell) * 100) for cell in rows[1][6:]) == 1_100_003


def test_lists_without_rows_say_how_to_get_some(bank: TestConsole) -> None:
    clerk = bank.person(PersonRole.CLERK)
    for path, text in {
        "/call-files": "No file has been uploaded yet.",
        "/consents": "No such consent is stored.",
        "/reports": "No report has been made yet.",
        "/spending": "There is no open agreement",
        "/reports/new?subject=A1": "holds no consent of the subject",
    }.items():
        assert text in clerk.page(path)
    answer = clerk.get(f"/reports/0x{'11' * 32}/report.pdf")
    assert (answer.status_code, "query_unknown" in answer.text) == (404, True)


def test_a_report_without_a_consent_or_an_agreement_is_refused(bank: TestConsole) -> None:
    clerk = bank.person(PersonRole.CLERK)
    fields = {**clerk.hidden("/account"), "subject": "A1", "consent": "0x" + "22" * 32}
    answer = clerk.post("/reports/new", fields)
    assert (answer.status_code, "report_empty" in answer.text) == (422, True)
    fields = {**clerk.hidden("/account"), "subject": "A1", "consent": "nonsense"}
    assert clerk.post("/reports/new", fields).status_code == 422


def test_an_assets_page_says_where_the_bank_stands_and_whose_turn_it_is(bank: TestConsole) -> None:
    asset = add_asset(bank, 1)
    page = bank.person(PersonRole.CLERK).page(f"/assets/{asset}")
    assert "It is your organisation's turn." in page
    assert f'href="/grants/request?asset={asset}">Ask for a grant</a></p>' in page
    auditor = bank.person(PersonRole.AUDITOR).page(f"/assets/{asset}")
    assert "Ask for a grant</a></p>" not in auditor


def test_a_search_with_facets_is_an_address(bank: TestConsole) -> None:
    for number in range(1, 31):
        add_asset(bank, number)
    clerk = bank.person(PersonRole.CLERK)
    page = clerk.page("/assets?q=asset&price=unknown")
    assert "30 assets" in page
    assert 'aria-current="true"' in page
    narrowed = page.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    assert "price=unknown" in narrowed
    assert clerk.page(narrowed).count("<tr>") == 6
    rows = clerk.get("/assets.csv?q=asset-30").text.splitlines()
    assert len(rows) == 2
    assert "0 assets" in clerk.page("/assets?column=nothing")
    for wrong in ("price=nonsense", "state=nonsense", "grade=9", "min_days=x"):
        assert clerk.get(f"/assets?{wrong}").status_code == 422


@pytest.mark.parametrize("path", ["/call-files", "/reports", "/consents", "/spending"])
def test_a_department_has_no_bank_pages(console: TestConsole, path: str) -> None:
    clerk = console.person(PersonRole.CLERK)
    answer = clerk.get(path)
    assert (answer.status_code, "page_of_another_role" in answer.text) == (403, True)
    assert not re.search(f'href="{path}"', clerk.page("/"))
