"""The bench of the console: its rows make pages, its walk finds them, its figures are right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chain.statements.members import Role
from nodes.console.accounts.model import PersonRole
from scripts.benches.console import NodeTimes, p95, times_of
from scripts.benches.console.crawl import Crawl, Crawler, links_of
from scripts.benches.console.network import MadeNetwork, Scale
from scripts.benches.console.rows import fill
from tests.support.console import MEMBER, TestConsole, running_console

SCALE = Scale(assets=60, calls=600, members=20, agreements=80, own_assets=20, acts=60, others=240)
OTHER = "91440703QL0001009B"
NOT_A_PAGE = (403, 404, 503)
"""Searches are for some roles; what is not on the chain has no proof, and a chain out of reach
proves nothing."""
LISTS = {
    Role.DEPARTMENT: {
        "/acts",
        "/agreements",
        "/assets",
        "/demands",
        "/disputes",
        "/earnings",
        "/grants",
        "/members",
        "/record-disputes",
        "/usage",
        "/usage/agreements/{agreement_id}",
        "/usage/{asset_id}",
    },
    Role.BANK: {"/call-files", "/calls", "/demands", "/reports", "/spending"},
    Role.SUPERVISOR: {
        "/clearing",
        "/deals",
        "/flows",
        "/freeze",
        "/network",
        "/reconciliation",
        "/trace",
        "/violations",
    },
}
PERSONS = (PersonRole.AUDITOR, PersonRole.CLERK)


@pytest.fixture(params=LISTS, ids=lambda role: str(role.name).lower())
def walked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Role, Crawl]]:
    role: Role = request.param
    with running_console(tmp_path, roles=role) as console:
        network = MadeNetwork(
            SCALE,
            console.context.ledger.deployment,
            MEMBER if role is Role.DEPARTMENT else OTHER,
            MEMBER if role is Role.BANK else OTHER,
            now=console.context.now(),
        )
        fill(console.context.database.url, network, MEMBER, role, lambda _: None)
        yield role, _walk(console)


def _walk(console: TestConsole) -> Crawl:
    person = console.person(*PERSONS)
    # Only a running node knows its own health and has sources.
    return Crawler(person.http, passed=["/health", "/publish"]).walk()


def test_the_walk_finds_the_lists_of_a_role_and_each_answers(walked: tuple[Role, Crawl]) -> None:
    role, found = walked
    reached = {page.route for page in found.pages}
    assert reached >= LISTS[role]
    assert {
        address: status for address, status in found.refused.items() if status not in NOT_A_PAGE
    } == {}
    assert any("cursor=" in page.address for page in found.pages)


def test_links_lead_to_pages_of_the_console_only() -> None:
    text = '<a href="/assets#top">a</a><a href="https://example.org">b</a><link href="/static/c">'
    assert links_of(text) == ["/assets"]


def test_figures_are_of_pages_that_answered() -> None:
    results = [
        {"route": "/account", "status": 200, "ms": 2.0, "person": "clerk"},
        *(
            {"route": "/assets", "status": 200, "ms": float(ms), "person": "clerk"}
            for ms in range(1, 101)
        ),
        {"route": "/assets", "status": 500, "ms": 9_000.0, "person": "auditor"},
    ]
    times: NodeTimes = times_of("bank", results, {})
    assert (times.pages[0].route, times.pages[0].p95, times.failed) == ("/assets", 95.0, 1)
    assert (times.quiet, times.persons) == (2.0, 2)
    assert {figure.baseline for figure in times.figures()} == {2.0}


def test_the_slowest_five_in_a_hundred_are_left_out() -> None:
    assert p95([5.0]) == 5.0
    assert p95([float(number) for number in range(20)]) == 18.0
