"""Every page of every role, over real services: no page shows a link or form that its reader may not
use, and no link leads to an error.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote

import httpx
import pytest
from pypdf import PdfReader

from chain.statements.grants import Operation
from chain.statements.signing_files import SignatureFile, SignRequest
from exchange.call_files import service as call_files
from exchange.call_files.model import CallFileRequest
from exchange.disputes import service as disputes
from exchange.metering.model import CallStatus
from exchange.reconciliation import runs
from exchange.reports import service as reports
from nodes.console.accounts.model import PersonRole
from nodes.sources.uploads import UploadedFiles
from nodes.webhooks import service as webhooks
from registry.demands import service as demands
from registry.grants import service as grants
from registry.grants.model import GrantRequest
from registry.sources import ConfiguredSources
from tests.exchange.conftest import Market
from tests.exchange.test_bundles_over_time import Remembering
from tests.exchange.test_reports import SUBJECT, Subject
from tests.support.console import BASE
from tests.support.console_walk import Walk
from tests.support.node import sources_of
from tests.support.node_console import console_of
from tests.support.stale_view import stale

NODES = ("department", "bank", "supervisor", "operator", "settlement_bank")
HOSTILE = "=1+1江门（测试）𠮷<script>alert(1)</script>"


@pytest.fixture(scope="module")
def busy(market: Market, tmp_path_factory: pytest.TempPathFactory) -> Market:
    """A market in which each page has something to show."""
    folder = tmp_path_factory.mktemp("uploads")
    files = UploadedFiles(folder, 1_000_000, {}, folder, changed=lambda _source: None)
    department = market.department.context
    department.services.put(ConfiguredSources(sources_of(department), files))
    firm = Subject(market)
    market.deposit(market.department.member, 10_000, "for bonds")
    market.offer(bond=100, stake=20, close_window_blocks=30, close_window_seconds=600)
    market.settle()
    statistics = market.open(market.grant(), cap=10_000, arbiter=market.supervisor.member)
    for number in (1, 2, 3, 200):
        market.call(statistics, number)
    market.claim(statistics)
    market.call(statistics, 4)
    claimed = disputes.claim(market.department.context, statistics, 0)
    market.department.done(claimed.operation)
    credit = market.open(market.grant(purpose="credit-assessment"), cap=10_000)
    consent = firm.consents()
    query = {"subject": SUBJECT, "purpose": "credit-assessment", "consent": consent}
    assert market.call(credit, **query).status == CallStatus.SERVED
    market.run(
        reports.make(
            market.bank.context,
            subject=SUBJECT,
            consent=bytes.fromhex(consent[2:]),
            purpose="credit-assessment",
            parts=[reports.ReportPart(credit, ("age",))],
            key="report",
        )
    )
    firm.disputes()
    table = f"subject\n{SUBJECT}\nnobody\n".encode()
    call_files.add(
        market.bank.context, CallFileRequest(f"{HOSTILE}.csv", statistics, ("age",), table)
    )
    demands.post(market.bank.context, title=HOSTILE, text=HOSTILE, columns=(), purpose="statistics")
    market.run(demands.fetch_all(market.department.context))
    runs.start(market.supervisor.context)
    market.run(runs.RunWorker(market.supervisor.context).round())
    for node in market.nodes.values():
        webhooks.create(
            node.context, url="https://hooks.example.gov.cn/a", kinds=["grant.approved"]
        )
    market.anchor()
    return market


def require_text(path: str, page: str) -> None:
    """What strangers wrote is text on a page."""
    assert "<script>alert" not in page, path


@pytest.mark.parametrize("name", NODES)
def test_no_page_shows_a_link_or_form_that_its_reader_may_not_use(busy: Market, name: str) -> None:
    console, faults = console_of(getattr(busy, name)), []
    for role in PersonRole:
        walk = Walk(console, console.person(role)).from_page("/", require_text)
        faults += walk.faults
    assert faults == []


@pytest.mark.parametrize("name", NODES)
def test_a_node_whose_view_of_the_chain_stands_still_shows_every_page_or_says_why(
    busy: Market, name: str
) -> None:
    node = getattr(busy, name)
    console = console_of(node)
    with stale(node.context.view):
        walk = Walk(console, console.person(*PersonRole)).from_page("/")
    assert walk.faults == []


def test_a_report_is_a_page_and_a_pdf_with_its_receipts(busy: Market) -> None:
    clerk = console_of(busy.bank).person(PersonRole.CLERK)
    (path,) = set(re.findall(r'href="(/reports/0x[0-9a-f]{64})"', clerk.page("/reports")))
    shown = clerk.page(path)
    assert SUBJECT in shown
    assert "30-39" in shown
    answer = clerk.get(f"{path}/report.pdf")
    assert answer.headers["content-type"] == "application/pdf"
    text = "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(answer.content)).pages)
    assert SUBJECT in text
    assert "30-39" in text
    assert clerk.login in text


def test_a_withdrawn_consent_says_what_a_call_would_be_refused_for(busy: Market) -> None:
    firm = Remembering(busy)
    consent = firm.consents()
    clerk = console_of(busy.bank).person(PersonRole.CLERK)
    row = clerk.page(f"/consents?subject={SUBJECT}").split(consent[:8])[0].rpartition("<tr>")[2]
    assert "allowed by this consent" in row
    firm.withdraws(consent)
    row = clerk.page(f"/consents?subject={SUBJECT}").split(consent[:8])[0].rpartition("<tr>")[2]
    assert "consent_withdrawn" in row
    exported = clerk.get(f"/consents.csv?subject={SUBJECT}").text
    assert (
        next(line for line in exported.splitlines() if consent in line).count("consent_withdrawn")
        == 1
    )
    form = clerk.page(f"/reports/new?subject={SUBJECT}")
    assert "consent_withdrawn" in form


def asked_for(market: Market) -> str:
    """A grant that waits for the department's decision; its id."""
    now = market.bank.context.now()
    wanted = GrantRequest(
        asset_id=market.asset_id,
        asset_version=1,
        owner=market.department.member,
        operations=int(Operation.USE),
        scene="credit",
        purpose="statistics",
        columns=("age",),
        not_before=now - 100,
        not_after=now + 100_000,
        max_uses=7,
    )
    made = market.run(grants.request(market.bank.context, wanted))
    market.bank.done(made.operation)
    market.settle()
    return "0x" + made.grant_id.hex()


def field_of(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', page)
    assert found, name
    return html.unescape(found[1])


def test_two_officers_who_decide_at_once_make_one_decision(busy: Market) -> None:
    grant = asked_for(busy)
    console, key = console_of(busy.department), busy.department.organisation.officer
    path = f"/grants/{grant}/decision"

    def ready(query: str) -> Callable[[], httpx.Response]:
        """An officer before a page; what sends its form with the signature."""
        officer = console.person(PersonRole.CHIEF_DATA_OFFICER)
        page = officer.page(f"{path}?{query}")
        request = SignRequest.from_bytes(field_of(page, "request").encode())
        digest = request.statement.digest(request.domain)
        signed = SignatureFile(digest, key.sign_digest(digest)).to_bytes()
        fields = {name: field_of(page, name) for name in ("csrf", "form_key", "statement")}
        files = {"signature_file": ("s.json", signed, "application/json")}
        return lambda: officer.http.post(path, data=fields, files=files, headers={"origin": BASE})

    sends = [ready("approved=true"), ready("reason=misuse")]
    with ThreadPoolExecutor(2) as both:
        answers = list(both.map(lambda send: send(), sends))
    assert {answer.status_code for answer in answers} <= {303, 409}, [a.text for a in answers]
    for location in {a.headers["location"] for a in answers if a.status_code == 303}:
        busy.department.outcome(unquote(location.removeprefix("/operations/").partition("?")[0]))
    busy.settle()
    shown = console.person(PersonRole.CLERK).page(f"/grants/{grant}")
    assert ("Approved ·" in shown) + ("Refused ·" in shown) == 1
    again = sends[0]()
    assert again.status_code in (303, 409)
