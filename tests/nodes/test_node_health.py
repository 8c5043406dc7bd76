"""A real node says which of its keys ended, when its certificate ends, whose clock is off and which
work it cannot do.

One member of the network has a node of its own here, which the tests stop, change and start; the
others stay as they are.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from chain.core.errors import QiaolianError
from chain.ethereum.finality import UnsealedForTestsOnly
from chain.ethereum.view import ChainView
from chain.keys.files import KeyStore, tls_certificate
from chain.statements.members import KeyPurpose
from nodes import config as configuration
from nodes import provision
from nodes.cli.main import main
from nodes.client import NodeClient
from nodes.config import Peer
from nodes.initialise import CONFIG_FILE, NODE_KEYS, peer_entry, write_config
from nodes.peers import HttpPeers
from nodes.provision import Organisation, OrganisationPlan
from nodes.tokens import TokenIssuer
from registry.uscc import with_check_character
from tests.nodes.conftest import TestNetwork, eventually

SHIFT = 600.0
QUICK = {"certificate_seconds": 0.1, "peer_seconds": 0.2, "witness_seconds": 0.1}
SHIFTED_NODE = """
import sys, time
from nodes import config, logs, server
logs.configure("INFO")
sys.exit(server.run(config.load(sys.argv[1]), clock=lambda: time.time() + float(sys.argv[2])))
"""

Node = Callable[..., Organisation]


@pytest.fixture
def laid_out(network: TestNetwork, tmp_path: Path) -> Iterator[Node]:
    """Makes a member whose node has the network's others as peers; started by the test, ended here."""
    made: list[Organisation] = []

    def make(
        index: int, *, workers: dict[str, Any] | None = None, **changed_urls: str
    ) -> Organisation:
        peers = {
            other.member: peer_entry(other.admission, changed_urls.get(other.plan.name, other.url))
            for other in network.organisations
        }
        member = with_check_character(f"11440700MB2N0H{index:03d}")
        wanted = OrganisationPlan(
            member,
            f"newcomer {index}",
            ("department",),
            extra_tables={"workers": {**QUICK, **(workers or {})}, "peers": peers},
        )
        deployment = Path(network.organisations[0].plan.deployment)
        (organisation,) = provision.create_organisations(
            tmp_path, [wanted], rpc=[network.chain.url], deployment=deployment
        )
        # Laid out alone it would know no peers.
        organisation.plan.extra_tables["peers"] = peers
        write_config(organisation.plan)
        network.governance.admit([organisation.admission])
        made.append(organisation)
        return organisation

    yield make
    provision.stop_all(made)


def health(organisation: Organisation) -> dict[str, Any]:
    """The node's own account, whatever its certificate."""
    host, port = organisation.plan.host, organisation.plan.port
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(host, port, context=context, timeout=20)
    try:
        connection.request(
            "GET", "/readyz", headers={"authorization": f"Bearer {organisation.token('auditor')}"}
        )
        answer = connection.getresponse()
        return {**json.loads(answer.read()), "http": answer.status}
    except OSError:
        return {"http": 0, "dependencies": []}
    finally:
        connection.close()


def part(organisation: Organisation, name: str) -> dict[str, Any]:
    return next(
        (found for found in health(organisation)["dependencies"] if found["name"] == name),
        {"code": "", "state": ""},
    )


def wait_for(organisation: Organisation, name: str, code: str) -> dict[str, Any]:
    """The part once it is looked at and has this code."""

    def look() -> dict[str, Any]:
        found = part(organisation, name)
        return found if found["state"] and found["code"] == code else {}

    found: dict[str, Any] = eventually(look)
    assert found, health(organisation)
    return found


def metric(organisation: Organisation, name: str) -> float:
    client = organisation.client("auditor")
    text = client.raw("GET", "/metrics", b"", client.headers()).body.decode()
    return float(next(line for line in text.splitlines() if line.startswith(name + " ")).split()[1])


def health_command(
    organisation: Organisation, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    code = main(["health", "--node", str(organisation.plan.directory)])
    return code, capsys.readouterr().out


def shown_days(organisation: Organisation) -> float:
    """Days that the certificate has which a new handshake shows."""
    pem = ssl.get_server_certificate((organisation.plan.host, organisation.plan.port))
    certificate = x509.load_pem_x509_certificate(pem.encode())
    return (
        certificate.not_valid_after_utc - certificate.not_valid_before_utc
    ).total_seconds() / 86_400


def give_certificate(organisation: Organisation, *, days: float) -> bytes:
    """Put a certificate of the node's own key in its place that ends in so many days."""
    keys = organisation.plan.directory / "keys"
    passphrase = configuration.load(organisation.plan.directory / CONFIG_FILE).passphrase()
    pem = tls_certificate(
        KeyStore(keys, passphrase).p256(NODE_KEYS[KeyPurpose.TLS][0]),
        organisation.member,
        days=days,
    )
    organisation.certificate.write_bytes(pem)
    return pem


def refusal_by(network: TestNetwork, organisation: Organisation) -> str:
    """What the bank's own way to other nodes says of this one; empty where it answers."""
    bank = network.of("bank")
    read = configuration.load(bank.plan.directory / CONFIG_FILE)
    signer = KeyStore(bank.plan.directory / "keys", read.passphrase()).secp256k1("token")
    view = ChainView(network.chain.url, network.deployment, UnsealedForTestsOnly())
    view.start(wait_seconds=30)

    async def ask() -> str:
        issuer = TokenIssuer(member=bank.member, signer=signer, deployment=network.deployment)
        peers = HttpPeers(
            peers={organisation.member: Peer(url=organisation.url)}, issuer=issuer, view=view
        )
        try:
            await peers.get(organisation.member, "/v1/peer/ping")
        except QiaolianError as error:
            return f"{error.code}: {error.sentence}"
        finally:
            peers.close()
        return ""

    try:
        return asyncio.run(ask())
    finally:
        view.stop()


# --- Keys -----------------------------------------------------------------------------------------


def test_a_node_whose_key_ended_is_not_ready_and_names_purpose_and_block(
    network: TestNetwork, laid_out: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    node = laid_out(1)
    node.node.start(outbox=False)
    node.node.wait_ready(node.client(None))
    assert part(node, "keys")["state"] == "ok"
    fingerprint = node.admission.key(KeyPurpose.STATEMENT).fingerprint
    network.governance.execute([("endKey", (fingerprint, bytes(32)))])
    found = wait_for(node, "keys", "key_ended")
    ended_at = network.ledger.members.key(fingerprint).end_height
    assert f"STATEMENT key ended in block {ended_at}" in found["detail"]
    assert found["hint"]
    assert (health(node)["http"], health(node)["state"]) == (503, "failing")
    assert node.client(None).get("/healthz") == {"status": "running"}
    assert metric(node, "qiaolian_keys_ended") == 1
    code, text = health_command(node, capsys)
    assert code == 1
    assert "key_ended" in text


# --- The certificate ------------------------------------------------------------------------------


def connections(client: NodeClient) -> list[Any]:
    """The connections that a client holds open."""
    transport: Any = client._http._transport
    return list(transport._pool.connections)


def test_a_certificate_about_to_end_is_renewed_at_the_start_and_under_connections_and_pins(
    network: TestNetwork, laid_out: Node
) -> None:
    node = laid_out(2)
    give_certificate(node, days=3)
    node.node.start(outbox=False)
    node.node.wait_ready(node.client(None))
    assert shown_days(node) > 800, "renewed at the start"
    former = node.plan.directory / "former.pem"
    former.write_bytes(node.certificate.read_bytes())
    restore_guard = NodeClient(node.url, certificate=former)
    restore_guard.get("/healthz")
    before = connections(restore_guard)
    short = give_certificate(node, days=3)
    assert eventually(
        lambda: (
            node.certificate.read_bytes() not in (short, former.read_bytes())
            and shown_days(node) > 800
        )
    )
    assert restore_guard.get("/healthz") == {"status": "running"}
    assert connections(restore_guard) == before, "the connection that stood was not dropped"
    assert NodeClient(node.url, certificate=former).get("/healthz"), (
        "who trusts the former certificate trusts its key"
    )
    assert refusal_by(network, node) == ""
    assert part(node, "certificate")["state"] == "ok"
    assert metric(node, "qiaolian_certificate_days_left") > 800


def test_an_ended_certificate_is_named_until_it_is_renewed_and_one_that_ends_soon_is_a_warning(
    network: TestNetwork, laid_out: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    node = laid_out(4, workers={"certificate": False})
    give_certificate(node, days=-1)
    node.node.start(outbox=False)
    wait_for(node, "certificate", "certificate_expired")
    assert health(node)["http"] == 503
    with pytest.raises(QiaolianError) as refused:
        node.client("auditor").get("/healthz")
    assert refused.value.code == "node_certificate_expired"
    assert node.member in refused.value.sentence
    reported = refusal_by(network, node)
    assert reported.startswith("peer_certificate_expired: ")
    assert node.member in reported
    assert (
        main(["node", "certificate", "renew", "--config", str(node.plan.directory / CONFIG_FILE)])
        == 0
    )
    assert node.member in capsys.readouterr().out
    assert eventually(lambda: not refusal_by(network, node))
    wait_for(node, "certificate", "")
    assert health_command(node, capsys)[0] == 0
    give_certificate(node, days=3)
    assert eventually(lambda: part(node, "certificate")["state"] == "warning")
    assert health_command(node, capsys)[0] == 0, "a warning is no failure"


# --- Clocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("index", "shift", "side"), [(6, SHIFT, "ahead"), (7, -SHIFT, "behind")])
def test_a_clock_that_is_off_is_named_by_its_node_and_by_who_refuses_its_requests(
    network: TestNetwork, laid_out: Node, index: int, shift: float, side: str
) -> None:
    node = laid_out(index)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [
        sys.executable,
        "-c",
        SHIFTED_NODE,
        str(node.plan.directory / CONFIG_FILE),
        str(shift),
    ]
    with (node.plan.directory / "run.log").open("ab") as log:
        node.node.api = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=node.plan.directory, env=environment
        )
    found = wait_for(node, "peer clocks", "clock_off")
    assert found["state"] == "failing"
    seconds = int(found["detail"].split(f" s {side}")[0].rsplit(" ", 1)[1])
    assert abs(seconds - SHIFT) <= 5, found
    # The members refuse its requests, and say why.
    refused = wait_for(node, "peers", "token_expired")
    assert ("in the future" if shift > 0 else "ago") in refused["detail"]
    assert f"{node.member} is" in refused["detail"]
    assert f"s {side}" in refused["detail"]


# --- Work that cannot be done ---------------------------------------------------------------------


def test_a_worker_that_cannot_reach_a_member_is_reported_with_its_age_and_the_node_stays_ready(
    network: TestNetwork, laid_out: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    operator = network.of("operator")
    node = laid_out(8, workers={"witness": True}, operator="https://127.0.0.1:1")
    node.node.start(outbox=False)
    node.node.wait_ready(node.client(None))
    found = wait_for(node, "worker witness", "witness_incomplete")
    assert f"{operator.member} (peer_unreachable)" in found["detail"]
    assert "It has failed" in found["detail"]
    found = wait_for(node, "peers", "peer_unreachable")
    assert operator.member in found["detail"]
    assert (health(node)["http"], health(node)["ready"], health(node)["state"]) == (
        200,
        True,
        "warning",
    )
    code, text = health_command(node, capsys)
    assert code == 0
    assert "witness_incomplete" in text
