"""``qiaolian demo``: the network's main job, end to end, on real records, with every claim checked
and reported.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from chain.core.errors import QiaolianError
from scripts.arguments import PARTS, add_demo_arguments, require_demo
from scripts.demo_steps import (
    catalogue,
    consoles,
    credit,
    disputes,
    fresh,
    kills,
    proof,
    records,
    report,
    sales,
    screenshots,
    trade,
    world,
)
from scripts.demo_steps.folder import own_folder, terminated_like_interrupted
from scripts.demo_steps.memory import MemoryWatch
from scripts.demo_steps.promises import broken
from scripts.demo_steps.screen import Screen
from scripts.demo_steps.state import DemoState, DisputedCase
from scripts.demo_steps.world import ORGANISATIONS, World


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    add_demo_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run every step; 0 only when every promise held."""
    require_demo(arguments)
    out: Path = arguments.out.resolve()
    try:
        with own_folder(out, PARTS), terminated_like_interrupted():
            return _run_in(out, arguments)
    except QiaolianError as error:
        print(f"\nerror[{error.code}]: {error.sentence} {error.hint}".rstrip(), file=sys.stderr)
        if (out / "network").exists():
            print(f"The logs are under {out / 'network'}.", file=sys.stderr)
        return 1


def _run_in(out: Path, arguments: argparse.Namespace) -> int:
    network = out / "network"
    network.mkdir(parents=True)
    demo = Demo(out, calls=arguments.calls, deals=arguments.deals, serve=arguments.serve)
    report_broken = demo.run()
    if arguments.clean:
        shutil.rmtree(network)
    for sentence in report_broken:
        print(f"NOT HELD: {sentence}", file=sys.stderr)
    print(
        f"\n{'Every step held.' if not report_broken else 'Some promises did not hold.'} "
        f"Report: {out / 'report.html'}"
    )
    return 1 if report_broken else 0


SUPERVISOR_PICTURE = "supervisor.png"


def _case(case: DisputedCase) -> dict[str, Any]:
    """A disputed agreement for the report; money in fen."""
    return {
        "name": case.name,
        "agreementId": case.deal.agreement_id,
        "provider": case.deal.key,
        "served": case.deal.served,
        "ended": case.ended,
        "owed_fen": case.owed,
        "paid_fen": case.paid,
        "forfeited_fen": case.forfeited,
        "taken_fen": case.taken,
        "refunded_fen": case.refunded,
        "settled": case.settled,
    }


class Demo:
    """One run."""

    def __init__(self, out: Path, *, calls: int, deals: int, serve: bool) -> None:
        self._out, self._calls, self._deals, self._serve = out, calls, deals, serve
        self._screen = Screen()
        self._state = DemoState()
        self._world: World | None = None
        self._watch = MemoryWatch(lambda: self._world.pids() if self._world else ())

    def run(self) -> list[str]:
        """The promises that did not hold."""
        started = time.monotonic()
        self._watch.start()
        screen, state = self._screen, self._state
        try:
            self._build()
            living = self._world
            assert living is not None
            screen.step(
                2, "Departments publish; the bank asks; chief data officers decide 数据登记与授权"
            )
            catalogue.run(living, screen, state)
            screen.step(3, "Consents, agreements, metered calls, refusals, free sharing 计量交易")
            trade.run(living, screen, state, calls=self._calls)
            screen.step(4, "Claims, split, closing, refund 结算")
            trade.settle(living, screen, state)
            screen.step(5, "Parties that do not keep to an agreement 违约与争议")
            disputes.run(living, screen, state)
            screen.step(6, "A one-stop credit report, a dispute, a repair 信用报告与修复")
            credit.run(living, screen, state)
            screen.step(7, f"{self._deals} home sales from signature to registration 云链签")
            sales.run(living, screen, state, deals=self._deals)
            screen.step(8, "kill -9 in the middle 断电演练")
            kills.run(living, screen, state)
            screen.step(9, "A grant is revoked 撤销授权")
            kills.revoke(living, screen, state)
            screen.step(10, "Reconciliation and proofs 对账与举证")
            proof.reconcile(living, screen, state)
            proof.export(living, screen, state, self._out)
            report_now = self._counted(living)
            report_now["supervisor_page"] = self._supervisor_page(living)
            if self._serve:
                self._linger(living)
            living.stop()
            screen.line("every process of the network has ended; what follows needs files only")
            proof.verify(screen, state, self._out)
            screen.finish()
        finally:
            if self._world is not None:
                self._world.stop()
            peak = self._watch.stop()
        report_now |= {
            "seconds": round(time.monotonic() - started, 1),
            "peak_memory_mb": round(peak / 2**20),
            "bundles": state.bundles,
            "steps": screen.as_json(),
        }
        report_now["broken"] = broken(report_now, calls=self._calls, deals=self._deals)
        self._write(report_now)
        return list(report_now["broken"])

    def _build(self) -> None:
        self._screen.step(1, "Four validators, nine organisations 建网")
        loans = records.loans()
        self._screen.line(
            f"{len(loans):,} loan records (modeldata/credit_data), each shown as a sole trader; "
            "the identifiers are made up, "
            "valid by their check characters, and belong to nobody",
            f"first: {loans[0][records.SUBJECT]}",
        )
        sources = records.write_sources(self._out / "network" / "sources", loans)
        self._world = world.build(
            self._out / "network", sources, self._screen, consoles=self._serve
        )

    def _counted(self, living: World) -> dict[str, Any]:
        """What the chain and the steps say, before the network ends."""
        state, height = self._state, living.ledger.height()
        blocks = living.ledger.blocks(range(1, height + 1))
        events = Counter(event.name for event in living.ledger.events(0, height))
        traded = [state.agreements[key] for key in trade.PRICES]
        everything = [
            *state.agreements.values(),
            *state.reporting.values(),
            *state.free_agreements.values(),
        ]
        return {
            "validators": len(living.sealers(height)),
            "blocks": height,
            "transactions": sum(len(block.transactions) for block in blocks if block is not None),
            "members": events["MemberAdmitted"],
            "assets": len(
                {
                    event.arguments["assetId"]
                    for event in living.ledger.events(0, height)
                    if event.name == "AssetRegistered"
                }
            ),
            "grants": events["GrantRequested"],
            "trade": {
                "calls": sum(agreement.served for agreement in traded),
                "all_calls": sum(agreement.served for agreement in everything),
                "refused": sum(agreement.refused for agreement in everything),
                "refused_units": state.refused_units,
                "refusals": state.refusals,
                "masked": state.masked,
                "free_calls": state.free_calls,
                "wrong_purpose_refused": state.wrong_purpose_refused,
                **state.money,
                "counters_agree": state.counters_agree,
                "calls_per_second": state.calls_per_second,
                "disputes": events["DisputeEnded"],
                "equivocations_slashed": events["EquivocationProved"],
                "kills": len(state.killed),
                "lost": len(state.lost),
                "cases": [_case(case) for case in state.cases],
                "balances": state.balances,
            },
            "credit": {"reports": len(state.reports), "repaired": state.repaired},
            "property": {
                "registered": len(state.registered),
                "refused": len(state.property_refusals),
                "refusals": state.property_refusals,
            },
            "killed": state.killed,
            "lost_records": state.lost,
            "revocation_seconds": state.revocation_seconds,
        }

    def _supervisor_page(self, living: World) -> str:
        """Take a picture of the network as the supervisor sees it; its file's name, or nothing
        where there is no browser.
        """
        picture = self._out / SUPERVISOR_PICTURE
        try:
            url = consoles.visit(living.organisations["supervisor"], "auditor")
            screenshots.take(f"{url}?next=/network", picture, height=900)
        except QiaolianError as error:
            self._screen.line(f"no picture of the supervisor's page: {error.sentence}")
            return ""
        self._screen.line(f"the supervisor's page: {picture}")
        return SUPERVISOR_PICTURE

    def _linger(self, living: World) -> None:
        self._screen.step(11, "Fresh work for each role 待办事项")
        fresh.run(living, self._screen, self._state, deals=self._deals)
        page = self._out / consoles.PAGE
        links = [
            link
            for cast in ORGANISATIONS
            for link in consoles.invite(living.organisations[cast.key], cast)
        ]
        consoles.write(page, links, consoles.firm(living))
        consoles.write_for_programs(self._out / consoles.FOR_PROGRAMS, links)
        self._screen.line(
            f"the network keeps running; {page} has one-time links for each role; Ctrl-C ends it"
        )
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()

    def _write(self, report_now: dict[str, Any]) -> None:
        members = [
            {
                "name": cast.name,
                "english": cast.english,
                "role": cast.roles[0].replace("_", " "),
                "validator": "yes" if cast.validator else "",
            }
            for cast in ORGANISATIONS
        ]
        report.write(self._out, report_now, members=members, agreements=self._rows())

    def _rows(self) -> list[dict[str, Any]]:
        titles = {cast.key: cast.english for cast in ORGANISATIONS}
        rows = []
        for deal in [*self._state.agreements.values(), *self._state.free_agreements.values()]:
            money = self._state.settled.get(deal.agreement_id, (0, 0, 0))
            free = f" (free, to {titles[deal.buyer]})" if deal.buyer != "bank" else ""
            name = titles[deal.key] + free + (" (cap of one call)" if deal.capped else "")
            rows.append(
                {
                    "name": name,
                    "served": deal.served,
                    "refused": deal.refused,
                    "opened": money[0],
                    "paid": money[1],
                    "refunded": money[2],
                }
            )
        return rows
