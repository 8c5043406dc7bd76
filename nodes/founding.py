"""``qiaolian found``: a fresh chain's contracts, and its first members in the directory.

The first three admission files become the governors. The contracts take only a governor's administration and transaction keys, so two of the
administrators approve here, once and together, the governors' other keys and the admission of whoever else is named; from then on every change goes
through the nodes (`qiaolian member`). A founding that broke off is taken up where it stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from chain.crypto import new_private_key
from chain.deploy import Governor, deploy
from chain.deployment import Deployment
from chain.errors import BadInput
from chain.keys import Secp256k1Signer, open_person_key
from chain.ledger import Ledger
from chain.statements import KeyPurpose
from nodes.initialise import Admission
from nodes.provision import Action, Governance

GOVERNORS = 3
Say = Callable[[str], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--rpc", required=True, help="a validator's or chain node's URL")
    parser.add_argument("--admission", type=Path, action="append", required=True, help="an organisation's admission.json; the first three govern")
    parser.add_argument("--admin-key", type=Path, action="append", required=True, help="key files of two governors' administrators")
    parser.add_argument("--out", type=Path, default=Path("deployment.json"), help="where the deployment file goes (default deployment.json)")


def run(arguments: argparse.Namespace) -> int:
    """Found the network; what is done is said in a line each."""
    admissions = [Admission.load(path) for path in arguments.admission]
    approvers = [open_person_key(path) for path in arguments.admin_key]
    found(arguments.rpc, admissions, approvers, arguments.out, say=lambda text: print(f"  … {text}", flush=True))
    print(f"{len(admissions)} members are admitted. Give every organisation {arguments.out}: its node's configuration names it as chain.deployment.")
    return 0


def found(rpc: str, admissions: Sequence[Admission], approvers: Sequence[Secp256k1Signer], path: Path, *, say: Say) -> Deployment:
    """Put the contracts on the chain unless ``path`` says they are there, and bring the directory to hold every admission with all its keys.

    Raises:
        BadInput: ``too_few_governors``, ``member_twice``, ``not_two_administrators``; QiaolianError: ``deploy_failed``;
            Unavailable: ``chain_unreachable``, ``chain_wrong_id``.
    """
    _require_founders(admissions, approvers)
    deployment = _deployed(rpc, admissions[:GOVERNORS], path, say)
    ledger = Ledger([rpc], deployment)
    try:
        actions = [action for each in admissions for action in _missing(ledger, each)]
        Governance(ledger, approvers).execute(actions)
        say(f"{len(actions)} changes of the directory are in blocks")
    finally:
        ledger.close()
    return deployment


def _require_founders(admissions: Sequence[Admission], approvers: Sequence[Secp256k1Signer]) -> None:
    if len(admissions) < GOVERNORS:
        raise BadInput("too_few_governors", f"A network is founded by at least {GOVERNORS} organisations.", hint="Name their admission files.")
    if len({each.member for each in admissions}) != len(admissions):
        raise BadInput("member_twice", "Two admission files are of one organisation.")
    administrators = {each.key(KeyPurpose.ADMIN).address for each in admissions[:GOVERNORS]}
    held = {each.address for each in approvers}
    if len(held & administrators) < 2 or len(held) != len(approvers):
        raise BadInput(
            "not_two_administrators",
            "The key files are not of two governors' administrators.",
            hint=f"The first {GOVERNORS} admission files name the governors; give two of their --admin-key files.",
        )


def _deployed(rpc: str, governors: Sequence[Admission], path: Path, say: Say) -> Deployment:
    if path.exists():
        say(f"the contracts of {path} are taken as they are")
        return Deployment.load(path)
    founders = [
        Governor(each.member, each.name, each.roles, _address(each, KeyPurpose.ADMIN), _address(each, KeyPurpose.TRANSACTION)) for each in governors
    ]
    deployment = deploy(rpc, new_private_key(), founders, progress=say)
    deployment.save(path)
    return deployment


def _missing(ledger: Ledger, admission: Admission) -> list[Action]:
    """What the directory still lacks of an organisation."""
    if not ledger.members.member(admission.member).admitted_at:
        keys = [each.to_contract() for each in admission.keys]
        return [("admit", (admission.member, admission.name, int(admission.roles), keys))]
    lacking = [each for each in admission.keys if not ledger.members.key(each.fingerprint).from_height]
    return [("addKey", (admission.member, each.to_contract())) for each in lacking]


def _address(admission: Admission, purpose: KeyPurpose) -> str:
    return admission.key(purpose).address
