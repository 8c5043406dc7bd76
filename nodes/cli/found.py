"""``qiaolian found``: a fresh chain's contracts, and its first members in the directory.

The first three admission files become the governors. The contracts take only a governor's
administration and transaction keys, so two of the administrators approve here, once and together,
the governors' other keys and the admission of whoever else is named; from then on every change goes
through the nodes (`qiaolian member`). A founding that broke off is taken up where it stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from chain.core.crypto import new_private_key
from chain.core.errors import BadInput
from chain.ethereum.deploy import Governor, deploy
from chain.ethereum.deployment import MAX_CLOSE_WINDOW, MIN_CLOSE_WINDOW, CloseWindow, Deployment
from chain.ethereum.ledger import Ledger
from chain.keys.files import Secp256k1Signer, open_person_key
from chain.statements.members import KeyPurpose
from nodes.governance import Action, Governance
from nodes.initialise import Admission

GOVERNORS = 3
Say = Callable[[str], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--rpc", required=True, help="a validator's or chain node's URL")
    parser.add_argument(
        "--admission",
        type=Path,
        action="append",
        required=True,
        help="an organisation's admission.json; the first three govern",
    )
    parser.add_argument(
        "--admin-key",
        type=Path,
        action="append",
        required=True,
        help="key files of two governors' administrators",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("deployment.json"),
        help="where the deployment file goes (default deployment.json)",
    )
    parser.add_argument(
        "--min-window-seconds",
        type=int,
        default=MIN_CLOSE_WINDOW.seconds,
        metavar="SECONDS",
        help="shortest time for claims after notice that agreements "
        "may state, fixed for ever (default a day)",
    )
    parser.add_argument(
        "--min-window-blocks",
        type=int,
        metavar="BLOCKS",
        help="the same in blocks (default one a second of --min-window-seconds)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Found the network; each step is reported in a line."""
    admissions = [Admission.load(path) for path in arguments.admission]
    approvers = [open_person_key(path) for path in arguments.admin_key]
    blocks = arguments.min_window_blocks
    seconds = arguments.min_window_seconds
    window = CloseWindow(seconds if blocks is None else blocks, seconds)
    found(
        arguments.rpc,
        admissions,
        approvers,
        arguments.out,
        min_close_window=window,
        say=lambda text: print(f"  … {text}", flush=True),
    )
    print(
        f"{len(admissions)} members are admitted. Give every organisation {arguments.out}: its "
        "node's configuration names it as chain.deployment."
    )
    return 0


def found(
    rpc: str,
    admissions: Sequence[Admission],
    approvers: Sequence[Secp256k1Signer],
    path: Path,
    *,
    min_close_window: CloseWindow = MIN_CLOSE_WINDOW,
    say: Say,
) -> Deployment:
    """Put the contracts on the chain unless ``path`` says they are there, and bring the directory
    to hold every admission with all its keys.

    Raises:
        BadInput: ``too_few_governors``, ``member_twice``, ``not_two_administrators``,
            ``window_out_of_range``; QiaolianError: ``deploy_failed``;
            Unavailable: ``chain_unreachable``, ``chain_wrong_id``.
    """
    _require_founders(admissions, approvers)
    _require_window(min_close_window)
    deployment = _deployed(rpc, admissions[:GOVERNORS], path, min_close_window, say)
    ledger = Ledger([rpc], deployment)
    try:
        actions = [action for admission in admissions for action in _missing(ledger, admission)]
        Governance(ledger, approvers).execute(actions)
        say(f"{len(actions)} changes of the directory are in blocks")
    finally:
        ledger.close()
    return deployment


def _require_founders(
    admissions: Sequence[Admission], approvers: Sequence[Secp256k1Signer]
) -> None:
    if len(admissions) < GOVERNORS:
        raise BadInput(
            "too_few_governors",
            f"A network is founded by at least {GOVERNORS} organisations.",
            hint="Name their admission files.",
        )
    if len({admission.member for admission in admissions}) != len(admissions):
        raise BadInput("member_twice", "Two admission files are of one organisation.")
    administrators = {
        admission.key(KeyPurpose.ADMIN).address for admission in admissions[:GOVERNORS]
    }
    approver_addresses = {approver.address for approver in approvers}
    if len(approver_addresses & administrators) < 2 or len(approver_addresses) != len(approvers):
        raise BadInput(
            "not_two_administrators",
            "The key files are not of two governors' administrators.",
            hint=f"The first {GOVERNORS} admission files name the "
            "governors; give two of their --admin-key files.",
        )


def _require_window(window: CloseWindow) -> None:
    longest = MAX_CLOSE_WINDOW
    if not (0 <= window.blocks <= longest.blocks and 0 <= window.seconds <= longest.seconds):
        raise BadInput(
            "window_out_of_range",
            f"The shortest closing window is 0 to {longest.seconds} "
            f"seconds and 0 to {longest.blocks} blocks.",
            hint="Leave --min-window-seconds out for a day.",
        )


def _deployed(
    rpc: str, governors: Sequence[Admission], path: Path, window: CloseWindow, say: Say
) -> Deployment:
    if path.exists():
        deployment = Deployment.load(path)
        say(
            f"the contracts of {path} are taken as they are: agreements "
            f"keep{_window_text(deployment)}"
        )
        return deployment
    founders = [
        Governor(
            governor.member,
            governor.name,
            governor.roles,
            _address(governor, KeyPurpose.ADMIN),
            _address(governor, KeyPurpose.TRANSACTION),
        )
        for governor in governors
    ]
    deployment = deploy(rpc, new_private_key(), founders, min_close_window=window, progress=say)
    deployment.save(path)
    say(f"agreements keep{_window_text(deployment)}")
    return deployment


def _window_text(deployment: Deployment) -> str:
    window = deployment.min_close_window
    return f" at least {window.seconds} seconds and {window.blocks} blocks for claims after notice"


def _missing(ledger: Ledger, admission: Admission) -> list[Action]:
    """What the directory still lacks of an organisation."""
    if not ledger.members.member(admission.member).admitted_at:
        keys = [key.to_contract() for key in admission.keys]
        return [("admit", (admission.member, admission.name, int(admission.roles), keys))]
    lacking = [key for key in admission.keys if not ledger.members.key(key.fingerprint).from_height]
    return [("addKey", (admission.member, entry.to_contract())) for entry in lacking]


def _address(admission: Admission, purpose: KeyPurpose) -> str:
    return admission.key(purpose).address
