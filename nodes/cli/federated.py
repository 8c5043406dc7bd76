"""``qiaolian federated``: a party's daemon, its jobs, and their replay."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from chain.core.printable import as_json, printable
from chain.core.signals import TERMINATION_SIGNALS, ignore
from chain.core.zone import local_time
from federated.attempt import replay
from federated.daemon import Daemon, ask, reachable
from federated.errors import BadInput, NotFound
from federated.gate import Approvable, FolderGate
from federated.horizontal.budget import Budget
from federated.job import Job
from federated.party import PartyConfig
from federated.protocols import protocol_of
from federated.source_check import check_source
from federated.transport import make_identity
from federated.vertical.reasons import ReasonTerms
from nodes.cli import checkout

if TYPE_CHECKING:
    from federated.horizontal.training import TrainingPlan

DEFAULT_DEMO_OUT = Path("var/federated-demo")

_TOML = """name = "{name}"

[listen]
host = "127.0.0.1"
port = {port}

# One table for each peer: its certificate.pem in the folder peers, and the fingerprint, received
# over another channel.
# [peers.tax]
# address = "127.0.0.1:9102"
# certificate = "peers/tax.pem"
# fingerprint = "0x..."

# [sources.loans]
# path = "loans.csv"
# key = "code"
# encoding = "auto"            # or utf-8, gb18030, gbk, gb2312, ascii
# missing = ["", "NA", "N.A."] # cells that mean no value
# texts = ["Postcode"]         # columns that stay text though they look like numbers
"""

if TYPE_CHECKING:
    Actions = argparse._SubParsersAction[argparse.ArgumentParser]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a party's actions, and ``demo``."""
    actions: Actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    init = actions.add_parser(
        "init", help="create a party's folder: key, certificate, configuration"
    )
    init.add_argument("folder", type=Path)
    init.add_argument("--name", required=True)
    init.add_argument("--port", type=int, required=True)
    init.set_defaults(act=_init)
    daemon = actions.add_parser("daemon", help="run a party's daemon until it is stopped")
    daemon.set_defaults(act=_daemon)
    run_job = actions.add_parser(
        "run",
        help="run a job from its specification, at the daemon if one runs, else in this process",
    )
    run_job.add_argument("spec", type=Path)
    run_job.add_argument("--json", action="store_true", help="print the receipt as JSON")
    run_job.set_defaults(act=_run)
    approve = actions.add_parser(
        "approve",
        help="as the data officer: allow this party's data to be used for exactly this job",
    )
    approve.add_argument("spec", type=Path, help="the job's specification, or a plan for Flower")
    approve.add_argument("--uses", type=int, default=1)
    approve.add_argument("--days", type=int, default=30)
    approve.add_argument("--by", required=True, help="who approves")
    approve.set_defaults(act=_approve)
    check = actions.add_parser(
        "check",
        help="look at the own source before a job: every fault and warning at once; nothing leaves",
    )
    check.add_argument("spec", type=Path)
    check.add_argument("--by", required=True, help="who looks; the look is logged")
    check.add_argument("--json", action="store_true", help="print the findings as JSON")
    check.set_defaults(act=_check)
    ledger = actions.add_parser(
        "budget", help="show this party's privacy ledger, or create it with a limit"
    )
    ledger.add_argument(
        "--limit",
        type=int,
        metavar="MICRO_RHO",
        help="create the ledger: the limit of all trainings together, in millionths of zCDP rho",
    )
    ledger.set_defaults(act=_budget)
    status = actions.add_parser("status", help="this party's running jobs and past attempts")
    status.set_defaults(act=_status)
    replay_attempt = actions.add_parser(
        "replay", help="replay this party's side of an attempt and compare every message"
    )
    replay_attempt.add_argument("attempt", type=Path, help="the attempt's folder")
    replay_attempt.set_defaults(act=_replay)
    for action in (daemon, run_job, approve, check, ledger, status, replay_attempt):
        action.add_argument(
            "--party", type=Path, required=True, help="the party's configuration (TOML)"
        )
    card = actions.add_parser("card", help="set a model card as PDF, from its card.json")
    card.add_argument("card", type=Path, help="card.json of the label party's attempt")
    card.add_argument("--organisation", default="", help="the name above every page")
    card.add_argument("--out", type=Path, required=True, help="a new PDF file")
    card.set_defaults(act=_card)
    _add_flower(actions)
    _add_demo(actions)


def _add_flower(actions: Actions) -> None:
    flower = actions.add_parser(
        "flower",
        help="train inside Flower on this machine: a SuperLink, and a SuperNode for each member",
    )
    flower.add_argument(
        "plan",
        type=Path,
        help='JSON: {"name": ..., "members": [...], "parameters": {...}}, '
        "parameters as of the protocol aggregation",
    )
    flower.add_argument(
        "--rows",
        action="append",
        default=[],
        metavar="MEMBER=FILE",
        help="a member's rows, CSV; once for each member",
    )
    flower.add_argument(
        "--gate",
        action="append",
        default=[],
        metavar="MEMBER=FOLDER",
        help="the folder of a member's approvals; once for each member",
    )
    flower.add_argument(
        "--patience",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="how long an exchange may take before a node counts as missing",
    )
    flower.add_argument(
        "--out", type=Path, required=True, help="a new folder for the model, the keys and the logs"
    )
    flower.set_defaults(act=_flower)


def _add_demo(actions: Actions) -> None:
    demo = actions.add_parser(
        "demo",
        help="joint models of a bank and three departments on real loan records, "
        "from intersection to replay",
    )
    demo.add_argument(
        "--out",
        type=Path,
        default=DEFAULT_DEMO_OUT,
        help=f"where the report and the parties' folders go (default {DEFAULT_DEMO_OUT})",
    )
    demo.set_defaults(act=_demo)


def run(arguments: argparse.Namespace) -> int:
    """Run one action."""
    act: Callable[[argparse.Namespace], int] = arguments.act
    return act(arguments)


def read_spec(path: Path) -> Job:
    """Read a job's specification from a file; ``spec_missing``, ``spec_malformed``."""
    return Job.from_json(_read_json(path))


def _read_json(path: Path) -> Any:
    try:
        if path.stat().st_size > 1 << 20:
            raise BadInput("spec_malformed", "The specification is larger than 1 MiB.")
        return json.loads(path.read_bytes(), object_pairs_hook=_object)
    except OSError as error:
        raise BadInput("spec_missing", f"The specification {path} cannot be read.") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(
            "spec_malformed", f"The specification {path.name} is not JSON: {error}."
        ) from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name occurs twice")
    return dict(pairs)


def _init(arguments: argparse.Namespace) -> int:
    path = arguments.folder / "party.toml"
    if path.exists():
        raise BadInput("folder_in_use", f"{arguments.folder} holds a party already.")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    fingerprint = make_identity(arguments.folder, arguments.name)
    path.write_text(_TOML.format(name=arguments.name, port=arguments.port), encoding="utf-8")
    PartyConfig.load(path)
    print(
        f"created {path}; send {arguments.folder / 'certificate.pem'} and the fingerprint "
        f"{fingerprint} to the peers"
    )
    return 0


def _daemon(arguments: argparse.Namespace) -> int:
    config = PartyConfig.load(arguments.party)

    async def serve() -> None:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()

        def end(_number: int, _frame: FrameType | None) -> None:
            # Once: a second cancellation would interrupt the cleaning up that the first began.
            if signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
                ignore()
                loop.call_soon_threadsafe(task.cancel)

        for number in TERMINATION_SIGNALS:
            signal.signal(number, end)
        async with Daemon.started(config) as daemon:
            where = f"{config.listen.host}:{config.listen.port}"
            await daemon.serve(lambda: print(f"{config.name} listens on {where}", flush=True))

    try:
        _loop(serve())
    except asyncio.CancelledError:
        print("stopped", file=sys.stderr)
    return 0


def _run(arguments: argparse.Namespace) -> int:
    config, job = PartyConfig.load(arguments.party), read_spec(arguments.spec)

    async def here() -> dict[str, Any]:
        if await reachable(config.home):
            return await ask(config.home, {"run": job.to_json()}, _print_progress)
        async with Daemon.started(config) as daemon:
            return await daemon.run(job, _print_progress)

    receipt = _loop(here())
    if arguments.json:
        print(as_json(receipt, indent=1))
        return 0
    print(
        f"done in {receipt['seconds']} s: {receipt['sentBytes']:,} bytes sent, "
        f"{receipt['receivedBytes']:,} received"
    )
    for line in _reading(receipt["reading"]):
        print(printable(f"  {line}"))
    for name, value in receipt["metrics"].items():
        print(printable(f"  {name}: {value}"))
    for name in receipt["files"]:
        print(printable(f"  wrote {name}"))
    return 0


def _reading(report: dict[str, Any] | None) -> Iterator[str]:
    """Yield lines on how this party's source was read."""
    if report is None:
        return
    yield f"read {report['rows']:,} rows ({report['encoding']})"
    if report["idsChanged"]:
        yield (
            f"{report['idsChanged']:,} identifiers had other blanks, "
            "width or case than their common form"
        )
    for name, count in report["missing"].items():
        yield f"column {name}: {count:,} values missing"
    for name, count in report["numbersRecognised"].items():
        yield f"column {name}: {count:,} numbers with separators, blanks or full-width digits"


def _approve(arguments: argparse.Namespace) -> int:
    config = PartyConfig.load(arguments.party)
    if arguments.uses < 1 or arguments.days < 1:
        raise BadInput("approval_empty", "An approval needs at least one use and one day.")
    job = _to_approve(config, arguments.spec)
    not_after = int(time.time()) + 86_400 * arguments.days
    path = FolderGate(config.home / "approvals").approve(
        job, uses=arguments.uses, not_after=not_after, by=arguments.by
    )
    print(printable(f"approved {job.name} by {arguments.by} for {config.name}: {path}"))
    for line in _allowed(config, job, arguments.spec):
        print(printable(f"  {line}"))
    print(f"  uses: {arguments.uses}, until {local_time(not_after)}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    config, job = PartyConfig.load(arguments.party), read_spec(arguments.spec)
    if config.name not in job.owners():
        raise BadInput(
            "not_an_owner",
            f"{config.name} brings no data into this job; there is nothing to check.",
        )
    if not arguments.by.strip():
        raise BadInput("approval_empty", "A look needs a name: give --by.")
    checked = check_source(config, job, by=arguments.by)
    if arguments.json:
        print(as_json(checked.to_json(), indent=1))
    else:
        print(printable(f"read {checked.rows:,} rows of {job.parties[config.name].source}"))
        for finding in checked.findings:
            kind = "fault" if finding.fault else "warning"
            print(printable(f"  {kind} {finding.code}: {finding.sentence}"))
        warnings = len(checked.findings) - checked.faults
        print(f"{checked.faults} faults that would end the job, {warnings} warnings")
    return BadInput.exit_code if checked.faults else 0


def _card(arguments: argparse.Namespace) -> int:
    # Loaded here: a daemon sets no pages.
    from nodes.cli.model_card import card_pdf, read_card

    card = read_card(arguments.card)
    data = card_pdf(card, organisation=arguments.organisation, made_at=int(time.time()))
    try:
        with arguments.out.open("xb") as file:
            file.write(data)
    except FileExistsError as error:
        raise BadInput(
            "folder_in_use",
            f"{arguments.out} already exists.",
            hint="Name a new file with --out.",
        ) from error
    print(f"wrote {arguments.out}")
    return 0


def _allowed(config: PartyConfig, agreed: Approvable, spec: Path) -> Iterator[str]:
    """Yield lines on what an approval allows."""
    yield (
        f"specification: {spec.name}, SHA-256 0x{agreed.digest.hex()}; any other "
        "specification needs its own approval"
    )
    if not isinstance(agreed, Job):
        yield f"plan for Flower: {agreed.name}"
        return
    part = agreed.parties[config.name]
    yield f"job: {agreed.name}, protocol {agreed.protocol}, purpose {agreed.purpose}"
    yield f"source: {part.source} ({config.source(part.source).path}), as {part.role}"
    yield f"columns: {', '.join(part.columns) or 'only the identifiers'}"
    for name, other in agreed.parties.items():
        if name != config.name:
            yield f"with: {name}, as {other.role}"
    terms = ReasonTerms.read(agreed.parameters.get("reasons"), agreed)
    if terms is not None and part.role == "features":
        listed = ", ".join(terms.columns.get(config.name, ())) or "no column"
        yield f"may be named as reasons for scores below {terms.below}: {listed}"


def _to_approve(config: PartyConfig, path: Path) -> Approvable:
    """Return the job, or the plan for Flower, that a party's data officer is shown.

    Raises:
        BadInput: ``not_an_owner``, ``source_unknown``, ``source_missing``, ``column_doubled`` or
            ``peer_unknown``, since the approval could never be used; and the codes of the protocol
            and of the party's own settings.
    """
    given = _read_json(path)
    if isinstance(given, dict) and "members" in given:
        plan = _read_plan(given)
        if config.name not in plan.members:
            raise BadInput(
                "not_an_owner",
                f"{config.name} is not a member of this plan; there is nothing to approve.",
            )
        return plan
    job = Job.from_json(given)
    protocol = protocol_of(job)
    if config.name not in job.owners():
        raise BadInput(
            "not_an_owner",
            f"{config.name} brings no data into this job; there is nothing to approve.",
        )
    _require_usable(config, job)
    protocol.admit(job, config.name, config.settings())
    return job


def _require_usable(config: PartyConfig, job: Job) -> None:
    """Check that this party could run the job as configured. The source stays closed until every
    owner has approved.
    """
    part = job.parties[config.name]
    entry = config.source(part.source)
    if not (config.home / entry.path).is_file():
        hint = f"Correct the path of the source {part.source} in the party's configuration."
        raise BadInput(
            "source_missing",
            f"The source {part.source} is at {entry.path}, which does not exist.",
            hint=hint,
        )
    if entry.key in part.columns or len(set(part.columns)) != len(part.columns):
        raise BadInput(
            "column_doubled",
            f"The job names a column of {part.source} twice, or its identifier.",
            hint="Correct the specification.",
        )
    unknown = [name for name in job.parties if name != config.name and name not in config.peers]
    if unknown:
        hint = "Name it under peers in the party's configuration, or correct the specification."
        raise NotFound(
            "peer_unknown",
            f"The peer {unknown[0]} is not configured, so the job cannot run here.",
            hint=hint,
        )


def _read_plan(given: Any) -> TrainingPlan:
    """Read a plan for Flower; ``spec_malformed`` and the codes of ``TrainingPlan.read``."""
    from federated.horizontal.training import (
        TrainingPlan,
    )  # loaded here, for the daemon does not need it

    if (
        not isinstance(given, dict)
        or set(given) != {"name", "members", "parameters"}
        or not isinstance(given["members"], list)
    ):
        raise BadInput(
            "spec_malformed",
            "A plan for Flower has a name, a list of members and parameters, and nothing else.",
        )
    return TrainingPlan.read(given["name"], given["members"], given["parameters"])


def _budget(arguments: argparse.Namespace) -> int:
    config = PartyConfig.load(arguments.party)
    path = config.settings()["budget"]
    budget = Budget(path) if arguments.limit is None else Budget.create(path, arguments.limit)
    balance = budget.balance()
    print(f"{balance.left:,} of {balance.limit:,} micro-rho left")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    config = PartyConfig.load(arguments.party)
    try:
        running = _loop(ask(config.home, {"status": True}, _print_progress))["running"]
    except OSError:
        running = {}
    for state in sorted(config.home.glob("jobs/*/*/state.json")):
        value = json.loads(state.read_text(encoding="utf-8"))
        live = running.get(state.parent.parent.name, {})
        label = value["state"]
        if label not in ("done", "failed"):
            label = (
                f"{live['stage']} {live['share']:.0%}"
                if live.get("folder") == str(state.parent)
                else "interrupted"
            )
        print(
            printable(
                f"{state.parent.parent.name}/{state.parent.name}  {label}  {value.get('code', '')}"
            )
        )
    return 0


def _replay(arguments: argparse.Namespace) -> int:
    config = PartyConfig.load(arguments.party)
    if not arguments.attempt.is_dir():
        raise NotFound("attempt_unknown", f"The attempt {arguments.attempt} does not exist.")
    replayed = _loop(replay(config, arguments.attempt, _print_progress))
    print(f"match: {replayed['messages']} messages and {replayed['files']} files match the receipt")
    return 0


def _flower(arguments: argparse.Namespace) -> int:
    # Loaded here, for the daemon does not need them.
    import numpy as np

    from chain.keys.files import write_private
    from federated.horizontal.aggregation import model_file
    from federated.horizontal.flower_run import FlowerDeployment, find_python

    plan = _read_plan(_read_json(arguments.plan))
    rows, gates = (
        {name: Path(path) for name, _, path in (option.partition("=") for option in given)}
        for given in (arguments.rows, arguments.gate)
    )
    for given, option in ((rows, "--rows"), (gates, "--gate")):
        if set(given) != set(plan.members):
            raise BadInput(
                "members_wrong", f"Give {option} exactly once for each member of the plan."
            )
    missing = [name for name, path in rows.items() if not path.is_file()]
    if missing:
        raise BadInput("source_missing", f"The rows of {missing[0]} do not exist.")
    if arguments.out.exists():
        raise BadInput(
            "folder_in_use",
            f"{arguments.out} already exists.",
            hint="Name a new folder with --out.",
        )
    with FlowerDeployment(arguments.out / "flower", find_python(), plan.members) as running:
        result = running.train(plan, rows, gates=gates, patience=arguments.patience)
    write_private(
        arguments.out / "model.json",
        model_file(plan, np.array(result.pop("parameters"), np.float64)),
    )
    for name, value in result.items():
        print(printable(f"  {name}: {value}"))
    print(f"  wrote {arguments.out / 'model.json'}")
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    return checkout.federated_demo(arguments.out)


def _print_progress(stage: str, share: float) -> None:
    print(printable(f"  {stage}: {share:.0%}"), file=sys.stderr, flush=True)


def _loop(work: Any) -> Any:
    """Run on uvloop if it is installed: its TLS is about twice as fast."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.run(work)
    return uvloop.run(work)
