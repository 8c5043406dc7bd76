"""Pages of the network, the clearing book and the supervisor's work: who sees them, bad input."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from chain.core.zone import local_day
from chain.log import merkle
from chain.log.checkpoint import log_origin
from chain.statements.members import Role
from exchange.conservation.model import ConservationReport, Discrepancy, Line
from exchange.conservation.service import ConservationMonitor
from exchange.reconciliation import store as reconciliation_store
from exchange.reconciliation.model import OpenFinding, ReconciliationFinding
from exchange.supervision import store as supervision_store
from exchange.supervision.model import AgreementFacts
from exchange.supervision.rules import LaneTotals
from nodes.console.accounts.model import PersonRole
from registry.evidence import copies, witness_store
from registry.evidence.model import Fork
from registry.members import store as members_store
from tests.support.console import TestConsole, running_console

DEPARTMENT, BANK = "11440700MB2N0D001N", "11440700MB2N0D002R"
AGREEMENT, GRANT, ASSET = (bytes([number]) * 32 for number in (1, 2, 3))
DIGEST = b"\x44" * 32
WATCHED = ("/network", "/flows", "/validators", "/nodes", "/clearing", "/trace")
SUPERVISED = ("/reconciliation", "/violations", "/freeze")


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[TestConsole]:
    """A supervisor's console that has seen two members, an agreement, a log and findings."""
    with running_console(tmp_path, roles=Role.SUPERVISOR) as made:
        now = made.context.now()
        facts = AgreementFacts(AGREEMENT, DEPARTMENT, BANK, ASSET, GRANT, now, None)

        def fill(session: object) -> None:
            for code, name in ((DEPARTMENT, "市社保局"), (BANK, "=银行<script>")):
                members_store.admit(session, code, name=name, roles=2, height=5)  # type: ignore[arg-type]
            supervision_store.add_agreement(session, facts)  # type: ignore[arg-type]
            added = LaneTotals(3, 3, 150)
            supervision_store.add_flow(session, local_day(now), facts, added)  # type: ignore[arg-type]

        made.context.database.write(fill)
        yield made


@pytest.mark.parametrize("path", [*WATCHED, *SUPERVISED])
def test_a_department_has_no_pages_of_the_whole_network(console: TestConsole, path: str) -> None:
    answer = console.person(PersonRole.AUDITOR).get(path)
    assert (answer.status_code, "page_of_another_role" in answer.text) == (403, True)


@pytest.mark.parametrize("path", [*WATCHED, *SUPERVISED, "/verifier"])
def test_an_auditor_reads_every_page_in_both_languages(watcher: TestConsole, path: str) -> None:
    auditor = watcher.person(PersonRole.AUDITOR)
    for language in ("en", "zh-CN"):
        auditor.language = language
        assert "<script>" not in auditor.page(path).replace("<script src", "")


@pytest.mark.parametrize("path", ["/flows", "/clearing", "/trace", "/reconciliation"])
def test_an_administrator_reads_nothing_about_data(watcher: TestConsole, path: str) -> None:
    answer = watcher.person(PersonRole.ADMINISTRATOR).get(path)
    assert (answer.status_code, "person_role_missing" in answer.text) == (403, True)


def test_flows_are_shown_with_their_records_and_exported_without_formulas(
    watcher: TestConsole,
) -> None:
    auditor = watcher.person(PersonRole.AUDITOR)
    page = auditor.page("/flows?days=7")
    assert "市社保局" in page
    assert "1.50" in page
    records = f"/flows/agreements?asset=0x{ASSET.hex()}&provider={DEPARTMENT}&buyer={BANK}"
    assert f"/trace?q=0x{AGREEMENT.hex()}" in auditor.page(records)
    file = auditor.page("/flows.csv?days=7")
    assert "'=银行" in file
    for days in ("0", "400", "x"):
        assert auditor.get(f"/flows?days={days}").status_code == 422


def test_an_agreement_is_traced_and_leads_to_its_members(watcher: TestConsole) -> None:
    auditor = watcher.person(PersonRole.AUDITOR)
    page = auditor.page(f"/trace?q=0x{AGREEMENT.hex()}")
    assert f"/proofs/agreements/0x{AGREEMENT.hex()}" in page
    assert f"/trace?q={DEPARTMENT}" in page
    for query, found in ((ASSET.hex(), None), (GRANT.hex(), None), (DEPARTMENT, AGREEMENT)):
        answer = auditor.page(f"/trace?q={query}")
        if found is None:
            # It could be a transaction's hash, and the chain of this console is out of reach.
            assert "chain_unreachable" in answer
        else:
            assert found.hex() in answer


def test_a_log_entry_is_found_by_its_digest_and_by_its_position(watcher: TestConsole) -> None:
    leaf = b'{"at":1800000000,"digest":"0x' + DIGEST.hex().encode() + b'","kind":"UsageReceipt"}'
    origin = log_origin(DEPARTMENT, 0)
    frontier = merkle.Frontier()
    copies.extend(frontier, leaf)
    watcher.context.database.write(
        lambda session: witness_store.add_copied(session, origin, [leaf], frontier)
    )
    auditor = watcher.person(PersonRole.AUDITOR)
    for query in ("0x" + DIGEST.hex(), f"{DEPARTMENT}/0", f"{DEPARTMENT}:0"):
        page = auditor.page(f"/trace?q={query}")
        assert "UsageReceipt" in page
        assert "市社保局" in page
    assert "record_unknown" in auditor.page(f"/trace?q={DEPARTMENT}/1")
    assert "1<" in auditor.page("/network")


@pytest.mark.parametrize(
    "query", ["x", "0x12", "<script>alert(1)</script>", "' OR 1=1 --", "11440700MB2N0D001N/-1"]
)
def test_a_search_that_is_no_id_is_refused_clearly(watcher: TestConsole, query: str) -> None:
    auditor = watcher.person(PersonRole.AUDITOR)
    answer = auditor.http.get("/trace", params={"q": query}, headers={"accept-language": "en"})
    assert "search_malformed" in answer.text
    assert "<script>alert" not in answer.text


def test_a_fork_and_a_finding_are_shown_with_who_has_to_answer(watcher: TestConsole) -> None:
    now = watcher.context.now()
    found = ReconciliationFinding("price", "wrong <b>price</b>", 0, 1, 3, side="provider")
    item = OpenFinding(0, AGREEMENT, DEPARTMENT, BANK, found, now - 9, now - 5, now - 1, None)
    fork = Fork(log_origin(DEPARTMENT, 0), "first\n<i>", "second\n", now)

    def fill(session: object) -> None:
        reconciliation_store.add_finding(session, item)  # type: ignore[arg-type]
        witness_store.add_fork(session, fork)  # type: ignore[arg-type]

    watcher.context.database.write(fill)
    auditor = watcher.person(PersonRole.AUDITOR)
    page = auditor.page("/violations")
    assert "<b>price" not in page
    assert "<i>" not in page
    assert "market" not in page
    assert f"/trace/bundle/agreements/0x{AGREEMENT.hex()}?lane=0&amp;seq=3" in page
    assert "1 overdue" in auditor.page("/reconciliation")
    assert "log_forked" in auditor.page("/network")
    assert "first" in auditor.page("/violations/forks.json")


def test_a_run_is_started_once_however_often_the_form_is_sent(watcher: TestConsole) -> None:
    auditor = watcher.person(PersonRole.AUDITOR)
    fields = auditor.hidden("/reconciliation")
    for _ in range(2):
        assert auditor.post("/reconciliation/runs", fields).status_code == 303
    page = auditor.page("/reconciliation")
    assert page.count("under way") == 1
    modeller = watcher.person(PersonRole.MODELLER)
    sent = {**modeller.hidden("/account"), "form_key": "k" * 20}
    assert modeller.post("/reconciliation/runs", sent).status_code == 403


@pytest.mark.parametrize(
    ("path", "fields", "role"),
    [
        ("/freeze/assets", {"asset": "0x" + "11" * 32, "reason": "dispute"}, "officer"),
        ("/freeze/agreements", {"agreement": "0x" + "22" * 32, "placed": "false"}, "officer"),
        ("/freeze/members", {"member": DEPARTMENT, "reason": "misuse"}, "administrator"),
    ],
)
def test_only_the_right_person_freezes(
    watcher: TestConsole, path: str, fields: dict[str, str], role: str
) -> None:
    auditor = watcher.person(PersonRole.AUDITOR)
    sent = {**auditor.hidden("/account"), "form_key": "k" * 20, **fields}
    answer = auditor.post(path, sent)
    assert (answer.status_code, "person_role_missing" in answer.text) == (403, True)
    right = {
        "officer": PersonRole.CHIEF_DATA_OFFICER,
        "administrator": PersonRole.ADMINISTRATOR,
    }[role]
    # The chain of this console is out of reach: nothing is done, and the page says why.
    refused = watcher.person(right).send("/freeze", path, fields)
    assert (refused.status_code, "chain_view_stale" in refused.text) == (503, True)


def test_the_page_says_whether_the_chains_money_adds_up(watcher: TestConsole) -> None:
    auditor = watcher.person(PersonRole.AUDITOR)
    assert "Money on the chain" not in auditor.page("/reconciliation")
    monitor = ConservationMonitor(watcher.context)
    assert "has not been checked yet" in auditor.page("/reconciliation")
    good = ConservationReport(
        height=1_009, checked_at=1, members=2, agreements=1, open_agreements=1
    )
    monitor.publish(good)
    assert "Everything adds up in block 1,009" in auditor.page("/reconciliation")
    wrong = [Discrepancy(line, BANK, 12_345, 12_344) for line in Line]
    monitor.publish(replace(good, discrepancies=wrong))
    page = auditor.page("/reconciliation")
    assert all(text in page for text in ("does not add up", BANK, "123.45", "123.44"))
    auditor.language = "zh-CN"
    assert "链上资金勾稽不平" in auditor.page("/reconciliation")


def test_only_an_administrator_proposes_a_fine(watcher: TestConsole) -> None:
    fields = {
        "agreement": "0x" + "22" * 32,
        "amount": "12.50",
        "to": DEPARTMENT,
        "reason": "2026-17",
    }
    auditor = watcher.person(PersonRole.AUDITOR)
    sent = {**auditor.hidden("/account"), "form_key": "k" * 20, **fields}
    assert auditor.post("/freeze/fines", sent).status_code == 403
    assert "Nobody was fined" in auditor.page("/fines")
    administrator = watcher.person(PersonRole.ADMINISTRATOR)
    unknown = administrator.send("/freeze", "/freeze/fines", fields)
    assert (unknown.status_code, "unknown_agreement" in unknown.text) == (404, True)
    for wrong in ({"amount": "0"}, {"amount": "0.001"}, {"to": "short"}, {"reason": "x" * 32}):
        assert administrator.send("/freeze", "/freeze/fines", fields | wrong).status_code == 422


@pytest.mark.parametrize("day", ["2026-13-01", "today", "2026-02-30"])
def test_a_day_that_is_no_date_is_refused(watcher: TestConsole, day: str) -> None:
    answer = watcher.person(PersonRole.AUDITOR).get(f"/clearing/{day}")
    assert (answer.status_code, "day_malformed" in answer.text) == (422, True)


def test_a_supervisor_cannot_close_a_day(watcher: TestConsole) -> None:
    clerk = watcher.person(PersonRole.CLERK)
    fields = {**clerk.hidden("/account"), "form_key": "k" * 20}
    answer = clerk.post("/clearing/2026-11-30/closing", fields)
    assert (answer.status_code, "page_of_another_role" in answer.text) == (403, True)


def test_the_verifier_page_names_the_digest_and_offers_no_file(watcher: TestConsole) -> None:
    file = resources.files("chain.bundle").joinpath("browser", "verifier.html")
    page = watcher.person(PersonRole.CLERK).page("/verifier")
    assert hashlib.sha256(file.read_bytes()).hexdigest() in page
    assert 'href="/static/verifier' not in page
    assert "download=" not in page


def test_a_suspension_waits_for_a_second_person_where_it_is_configured(tmp_path: Path) -> None:
    with running_console(
        tmp_path, roles=Role.SUPERVISOR, two_persons=("member.suspend",)
    ) as console:
        fields = {"member": DEPARTMENT, "reason": "misuse"}
        first = console.person(PersonRole.ADMINISTRATOR)
        answer = first.send("/freeze", "/freeze/members", fields)
        assert (answer.status_code, answer.headers["location"]) == (303, "/approvals")
        lifts = first.send("/freeze", "/freeze/members", {**fields, "function": "lift"})
        assert lifts.status_code == 503
        second = console.person(PersonRole.ADMINISTRATOR)
        assert second.send("/freeze", "/freeze/members", fields).status_code == 503
