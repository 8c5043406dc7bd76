"""The console at the size of a whole city: pages of every role over 100,000 assets, 1,000,000 calls
and 1,000 members, opened by several persons at once.

Real nodes serve real pages; the stores' rows are generated (``rows``), the pages are found by
following links (``crawl``), and locust turns them (``load``). A page's time is the one that the
console measures itself, from the first byte of the request to the head of the answer, beside that
of a page without data in the same run.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from chain.core.errors import Unavailable
from nodes import config as configuration
from nodes.initialise import CONFIG_FILE, write_config
from nodes.provision import Organisation, start_all, stop_all
from scripts.benches.console import browser
from scripts.benches.console.crawl import Crawl, Crawler
from scripts.benches.console.network import MadeNetwork, Scale
from scripts.benches.console.rows import fill
from scripts.benches.figure import Figure
from scripts.demo_steps import catalogue, consoles, records, trade, world
from scripts.demo_steps.consoles import PersonLinks
from scripts.demo_steps.memory import proportional_bytes
from scripts.demo_steps.screen import Screen
from scripts.demo_steps.state import DemoState
from scripts.demo_steps.world import ORGANISATIONS, World

ROOT = Path(__file__).parents[3]
CAST = ("operator", "supervisor", "tax", "bank", "settlement")
MEASURED = {
    "tax": "department",
    "bank": "bank",
    "supervisor": "supervisor",
    "operator": "operator",
}
"""The nodes whose pages are measured, and what they are called."""
VISITS = 20
"""How often each address is opened, by all persons together."""
PAUSE = (0.5, 1.5)
"""Seconds that a person reads a page, at least and at most."""
CALLS = 40
"""Metered calls made for real, so that pages with proofs have something to prove."""
MAX_MS, PAINT_MS, CHECK_MS, MEMORY_MB = 300, 1_000, 1_000, 40
QUIET_PAGE = "/account"
"""A page of the same frame without a list: the baseline."""
PAINTED = ("/", "/assets", "/usage")
SETTLING_SECONDS = 20
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PageTime:
    """How long one route took, in milliseconds of the server."""

    route: str
    p50: float
    p95: float
    visits: int


@dataclass(frozen=True, slots=True)
class NodeTimes:
    """What the pages of one node took; the slowest page first."""

    name: str
    p50: float
    p95: float
    quiet: float
    """p50 of the page without data."""
    pages: Sequence[PageTime]
    persons: int
    refused: Mapping[str, int]
    """Addresses that answered with no page when they were looked for, by status."""
    failed: int
    """Answers under load that were no page."""

    def figures(self) -> list[Figure]:
        """As the bench shows them."""
        quiet, aim = "a page without data, p50", f"≤ {MAX_MS} ms"
        worst = self.pages[0]
        return [
            Figure(f"console, {self.name}: {name}", value, "ms", self.quiet, quiet, aim)
            for name, value in (
                (f"all pages, p50 ({self.persons} persons)", self.p50),
                ("all pages, p95", self.p95),
                (f"worst page, p95 ({worst.route})", worst.p95),
            )
        ]

    def to_json(self) -> dict[str, Any]:
        """Every page, for the file of details."""
        return {
            "p50": self.p50,
            "p95": self.p95,
            "quiet": self.quiet,
            "persons": self.persons,
            "failed": self.failed,
            "refused": dict(self.refused),
            "pages": [
                {"route": page.route, "p50": page.p50, "p95": page.p95, "visits": page.visits}
                for page in self.pages
            ],
        }


def run(
    say: Say, *, scale: Scale | None = None, visits: int = VISITS, details: Path | None = None
) -> list[Figure]:
    """Lay out five nodes, fill four of them, and measure one after the other."""
    program = _locust(say)
    with tempfile.TemporaryDirectory() as directory, _network(Path(directory)) as living:
        _fill(living, scale or Scale(), say)
        times, found = [], list[Figure]()
        for key, name in MEASURED.items():
            say(f"{name}: looking for pages")
            measured = _measure(living, key, program, Path(directory), visits)
            times.append(measured)
            found += measured.figures()
            for page in measured.pages[:5]:
                say(f"{name}: {page.route} p50 {page.p50:.0f} ms, p95 {page.p95:.0f} ms")
        found += _in_the_browser(living, say)
        found.append(_memory(living.organisations["tax"], say))
    _write(details or ROOT / "var" / "bench" / "console.json", times)
    return found


def _write(file: Path, times: Sequence[NodeTimes]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {measured.name: measured.to_json() for measured in times}
    file.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


# --- The network ----------------------------------------------------------------------------------


@contextmanager
def _network(root: Path) -> Iterator[World]:
    """Five nodes with a console each, and one open agreement with a few calls."""
    cast = [
        replace(organisation, validator=organisation.key == "operator")
        for organisation in ORGANISATIONS
        if organisation.key in CAST
    ]
    screen, state = Screen(), DemoState()
    screen.step(1, "a small network for the bench")
    sources = records.write_sources(root / "sources", records.loans())
    living = world.build(root, sources, screen, cast=cast, consoles=True)
    try:
        catalogue.publish_for_bench(living, screen, state)
        (deal,) = trade.prepare_for_bench(
            living, screen, state, traders=CALLS, agreements=1, calls=CALLS
        )
        calls = [trade.query(deal, trader) for trader in state.traders]
        living.client("bank", "system").post("/v1/calls/batch", {"calls": calls})
        yield living
    finally:
        living.stop()


def _fill(living: World, scale: Scale, say: Say) -> None:
    """Insert the generated rows while no node runs."""
    organisations = living.organisations
    stop_all(list(organisations.values()))
    network = MadeNetwork(scale, living.deployment, living.code("tax"), living.code("bank"))
    filled = None
    for key in MEASURED:
        organisation = organisations[key]
        config = configuration.load(organisation.plan.directory / CONFIG_FILE)
        # Generated agreements have no record on the chain that claims could be compared with.
        _change(organisation, workers={**_workers(organisation), "claims": False})
        fill(config.database_url, network, config.member, config.role, say, filled=filled)
        filled = config.database_url
    start_all(list(organisations.values()))


def _workers(organisation: Organisation) -> dict[str, Any]:
    return dict(organisation.plan.extra_tables.get("workers", {}))


def _change(organisation: Organisation, **tables: Any) -> None:
    """Write tables of a node's configuration, which counts from its next start; None removes."""
    changed = {**organisation.plan.extra_tables, **tables}
    remaining = {name: value for name, value in changed.items() if value is not None}
    organisation.plan = replace(organisation.plan, extra_tables=remaining)
    write_config(organisation.plan)


# --- Pages under load -----------------------------------------------------------------------------


def _measure(living: World, key: str, program: Path, root: Path, visits: int) -> NodeTimes:
    """The pages of one node, opened by each of its persons."""
    organisation = living.organisations[key]
    cast = next(one for one in ORGANISATIONS if one.key == key)
    persons, crawls, refused = [], list[Crawl](), dict[str, int]()
    for person in consoles.invite(organisation, cast):
        with _logged_in(person) as client:
            crawls.append(Crawler(client).walk())
            refused |= crawls[-1].refused
            cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        pages = [{"route": page.route, "address": page.address} for page in crawls[-1].pages]
        persons.append({"name": person.kind, "cookie": cookie, "pages": pages})
    repeated = max(1, round(visits / len(persons)))
    plan = {"host": console_of(organisation), "persons": persons, "visits": repeated}
    results = _turn_pages(program, root / f"{key}.json", {**plan, "pause": PAUSE})
    return times_of(MEASURED[key], results, refused)


@contextmanager
def _logged_in(person: PersonLinks) -> Iterator[httpx.Client]:
    """A browser of this person, logged in by the last of the one-time links."""
    address, _, token = person.urls[-1].partition("/invitations/")
    with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
        client.get(f"/invitations/{token}")
        yield client


def console_of(organisation: Organisation) -> str:
    """The address of an organisation's console."""
    settings = configuration.load(organisation.plan.directory / CONFIG_FILE).console
    assert settings is not None
    return f"http://{settings.host}:{settings.port}"


def times_of(
    name: str, results: Sequence[Mapping[str, Any]], refused: Mapping[str, int]
) -> NodeTimes:
    """The times of a node's pages, by route; answers without a page count as failed."""
    by_route = defaultdict[str, list[float]](list)
    for result in results:
        if result["status"] == 200 and result["ms"] is not None:
            by_route[result["route"]].append(result["ms"])
    everything = [ms for times in by_route.values() for ms in times]
    if not everything:
        raise Unavailable("pages_not_measured", "No page of the console answered under load.")
    pages = [
        PageTime(route, statistics.median(times), p95(times), len(times))
        for route, times in by_route.items()
    ]
    return NodeTimes(
        name=name,
        p50=statistics.median(everything),
        p95=p95(everything),
        quiet=statistics.median(by_route.get(QUIET_PAGE, everything)),
        pages=sorted(pages, key=lambda page: -page.p95),
        persons=len({result["person"] for result in results}),
        refused=refused,
        failed=len(results) - len(everything),
    )


def p95(times: Sequence[float]) -> float:
    """The time that 95 in 100 do not exceed."""
    ordered = sorted(times)
    return ordered[max(0, -(-len(ordered) * 95 // 100) - 1)]


def _turn_pages(program: Path, plan_file: Path, plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    results = plan_file.with_suffix(".results.json")
    plan_file.write_text(json.dumps(plan), encoding="utf-8")
    load = Path(__file__).with_name("load.py")
    done = subprocess.run(
        [str(program), str(load), str(plan_file), str(results)],
        capture_output=True,
        text=True,
        check=False,
        cwd=plan_file.parent,
    )
    if done.returncode != 0:
        raise Unavailable(
            "pages_not_measured",
            "The load on the console ended with an error.",
            hint=done.stderr.strip()[-500:],
        )
    found: list[dict[str, Any]] = json.loads(results.read_text(encoding="utf-8"))
    return found


def _locust(say: Say) -> Path:
    """The Python of the environment with locust, which is made here if it is missing."""
    python = ROOT / ".venv-locust" / "bin" / "python"
    steps = (
        "set -euo pipefail; . scripts/lib/setup.sh; prepare_folders; "
        'install_pins .venv-locust locust "installing locust into .venv-locust"; release_folders'
    )
    done = subprocess.run(["bash", "-c", steps], cwd=ROOT, check=False, capture_output=True)
    if done.returncode != 0 or not python.is_file():
        raise Unavailable(
            "locust_missing",
            "The load of many persons needs locust, which could not be installed.",
            hint="See var/log/setup-locust.log.",
        )
    say(f"locust in {os.path.relpath(python.parents[1], ROOT)}")
    return python


# --- Browser and memory ---------------------------------------------------------------------------


def _in_the_browser(living: World, say: Say) -> list[Figure]:
    organisation = living.organisations["tax"]
    link = consoles.visit(organisation, "clerk")
    say("first paint, and bundles in the browser")
    with browser.chromium() as started:
        empty = browser.empty_paint(started)
        painted = browser.first_paint(started, link, console_of(organisation), PAINTED)
        checks = browser.bundle_check(started)
    slowest = max(checks, key=lambda name: checks[name])
    return [
        Figure(
            f"console: first paint ({', '.join(PAINTED)}; the slowest)",
            painted,
            "ms",
            empty,
            "an empty page",
            f"≤ {PAINT_MS:,} ms",
        ),
        Figure(
            f"bundle check in the browser, the slowest of {len(checks)} ({slowest})",
            checks[slowest],
            "ms",
            empty,
            "an empty page's first paint",
            f"≤ {CHECK_MS:,} ms",
        ),
    ]


def _memory(organisation: Organisation, say: Say) -> Figure:
    """The API process after all those pages, and after a start without the console."""
    say(f"memory without the console, {SETTLING_SECONDS} s after its start")
    api = organisation.node.api
    assert api is not None
    used = proportional_bytes(api.pid) / 1e6
    organisation.node.stop()
    _change(organisation, console=None)
    organisation.node.start()
    organisation.node.wait_ready(organisation.client(None))
    time.sleep(SETTLING_SECONDS)
    api = organisation.node.api
    assert api is not None
    bare = proportional_bytes(api.pid) / 1e6
    return Figure(
        "node's memory that the console takes, after the pages",
        used - bare,
        "MB",
        bare,
        "the node without a console",
        f"≤ {MEMORY_MB} MB",
    )
