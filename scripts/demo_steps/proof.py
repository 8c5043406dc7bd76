"""Step 10: reconciliation, one bundle of each proof profile, and offline verification with the
network down.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from chain.bundle.trust import Trust
from chain.statements.members import KeyPurpose
from scripts.demo_steps import disputes, trade
from scripts.demo_steps.screen import Screen
from scripts.demo_steps.state import DemoState
from scripts.demo_steps.world import World, wait_for

EXPORT_SECONDS = 120.0
VERIFY_SECONDS = 60.0
WITNESS = "supervisor"


def reconcile(world: World, screen: Screen, state: DemoState) -> None:
    """Compare gateway, buyer and chain as the supervisor, and read all three directly."""
    state.counters_agree = trade.counters_agree(
        world, [*state.agreements.values(), *state.free_agreements.values()]
    )
    reports = list(world.client("supervisor", "auditor").pages("/v1/reconciliation"))
    agreements = [agreement for report in reports for agreement in report["agreements"]]
    findings = [finding for agreement in agreements for finding in agreement["findings"]]
    kinds = sorted({item["kind"] for item in findings})
    screen.line(
        f"the supervisor reconciles {len(agreements)} agreements: "
        + (f"{len(findings)} findings ({', '.join(kinds)})" if findings else "no gap, no conflict")
    )
    screen.line(
        "units by gateway database, buyer database and chain "
        f"{'agree' if state.counters_agree else 'DIFFER'}"
    )


def trust_of(world: World) -> Trust:
    """Return a verifier's trust file for this network."""
    supervisor = world.organisations[WITNESS]
    witness = {supervisor.member: supervisor.admission.key(KeyPurpose.LOG).fingerprint}
    return world.deployment.trust(world.network.addresses, witnesses=witness, required_witnesses=1)


def export(world: World, screen: Screen, state: DemoState, out: Path) -> None:
    """Anchor and cosign every log, and write one bundle of each proof profile with
    the trust file.
    """
    (out / "bundles").mkdir(parents=True, exist_ok=True)
    (out / "trust.json").write_text(
        json.dumps(trust_of(world).to_json(), indent=1) + "\n", encoding="utf-8"
    )
    for key in world.organisations:
        world.client(key, "administrator").post("/v1/log/anchor", {})
    for name, (key, role, path) in _bundle_paths(state).items():
        fetch = partial(world.client(key, role).download, path)
        data = wait_for(fetch, f"the {name} bundle", seconds=EXPORT_SECONDS, every=1.0)
        file = f"bundles/{name}.json"
        (out / file).write_bytes(data)
        profile = name.partition("-")[0]
        state.bundles.append({"name": name, "story": profile, "file": file})
        screen.line(f"bundle, profile {profile}, {len(data):,} bytes", file)


def _bundle_paths(state: DemoState) -> dict[str, tuple[str, str, str]]:
    """Return node, role and path of each bundle; a name is the profile, and what tells several of a
    profile apart.
    """
    sold = state.agreements["tax"]
    bundles = {
        "trade": (sold.key, "auditor", f"/v1/agreements/{sold.agreement_id}/bundle?lane=0&seq=3"),
        "lane": (sold.key, "auditor", f"/v1/agreements/{sold.agreement_id}/lane-bundle?lane=0"),
        "look": (sold.key, "auditor", f"/v1/looks/{sold.agreement_id}/0/3/bundle"),
        "grant": (
            "social-security",
            "auditor",
            f"/v1/grants/{state.grants['social-security']}/bundle",
        ),
    }
    for name, (key, case) in _DISPUTES.items():
        found = next((one for one in state.cases if one.name == case), None)
        if found is not None:
            query = f"lane=0&seq={found.seq}&case={name.partition('-')[2] or 'answer'}"
            path = f"/v1/agreements/{found.deal.agreement_id}/dispute-bundle?{query}"
            bundles[name] = (key, "auditor", path)
    if state.reports:
        bundles["credit"] = (
            "bank",
            "auditor",
            f"/v1/credit/queries/{state.reports[-1]['queryId']}/bundle",
        )
    if state.registered:
        bundles["property"] = ("real-estate", "auditor", f"/v1/deals/{state.registered[0]}/bundle")
    return bundles


_DISPUTES = {
    "dispute": ("bank", disputes.OTHER_ANSWER),
    "dispute-claim": ("social-security", disputes.SILENT_BUYER),
    "dispute-equivocation": ("bank", disputes.TWO_RECEIPTS),
}
"""Bundles that show why a disputed case ended as it did, with the node that makes each."""


def verify(screen: Screen, state: DemoState, out: Path) -> None:
    """Verify each bundle with the network down, and check that a changed byte is refused."""
    for bundle in state.bundles:
        path = out / bundle["file"]
        code, output = _verify(path, out / "trust.json")
        bundle["verified"] = code == 0
        changed = out / "bundles" / f".{bundle['name']}.changed.json"
        changed.write_bytes(_with_a_byte_changed(path.read_bytes(), _PLACES[bundle["story"]]))
        try:
            bundle["tampered_exit_code"], bundle["tampered_sentence"] = _verify(
                changed, out / "trust.json"
            )
        finally:
            changed.unlink()
        screen.line(
            f"{bundle['name']}: {'valid' if bundle['verified'] else output}; one byte changed: "
            f"{bundle['tampered_sentence']}"
        )


_PLACES: dict[str, Callable[[bytes], int]] = {
    "trade": lambda data: data.index(b'"signature":"0x') + 40,
    "lane": lambda data: data.index(b'"path":["0x') + 20,
    "look": lambda data: data.rindex(b'"signature":"0x') + 40,
    "dispute": lambda data: data.index(b'"storageProof":["0x') + 60,
    "grant": lambda data: data.index(b'"headers":["0x') + 200,
    "credit": lambda data: data.index(b'"storageProof":["0x') + 60,
    "property": lambda data: data.index(b'"salt":"0x') + 12,
}
"""Where a byte is changed: in a signature, a log path, another signature, a storage proof, a sealed
header, another storage proof, an opened commitment.
"""


def _with_a_byte_changed(data: bytes, index: Callable[[bytes], int]) -> bytes:
    at = index(data)
    return data[:at] + (b"1" if data[at : at + 1] == b"0" else b"0") + data[at + 1 :]


def _verify(bundle: Path, trust: Path) -> tuple[int, str]:
    """Run the verifier in its own process on the two files."""
    command = [
        sys.executable,
        "-m",
        "nodes.cli.main",
        "verify",
        str(bundle),
        "--trust",
        str(trust),
        "--json",
    ]
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=VERIFY_SECONDS,
        env=environment,
        check=False,
    )
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError:
        return done.returncode, (done.stderr.strip().splitlines() or ["no answer"])[-1]
    return done.returncode, str(answer.get("sentence", ""))
