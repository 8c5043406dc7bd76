"""A node's keys are replaced from the command line while it trades, over real nodes and a real
validator: nothing is lost, forked or billed twice.
"""

from __future__ import annotations

import json
import sqlite3
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from chain.core.crypto import new_private_key
from chain.ethereum.deployment import Deployment
from chain.keys.files import KeyStore, Secp256k1Signer, tls_fingerprint
from chain.statements.members import Algorithm
from nodes.config import load
from nodes.initialise import CONFIG_FILE
from nodes.provision import Organisation
from nodes.tokens import TokenIssuer
from tests.scripts.town import (
    Town,
    admin_key,
    eventually,
    grant_people,
    output_of,
    publish_people,
    retried,
    run_command,
)

CALL = ("--subject", "A1", "--columns", "age,area", "--purpose", "statistics")


@pytest.fixture(scope="module")
def published(town: Town, admitted: dict[str, Any]) -> str:
    asset = publish_people(town)
    town.at(
        "department",
        "offer",
        "make",
        asset,
        "--price",
        "50",
        "--max-cap",
        "100000",
        "--share",
        f"{town['department']}=10000",
    )
    for number, (name, amount) in enumerate((("bank", "100000"), ("department", "100"))):
        town.at(
            "operator",
            "money",
            "deposit",
            "--member",
            town[name],
            "--amount",
            amount,
            "--reference",
            f"2026-11/{number}",
        )
    retried("asset", "show", asset, *town.node("bank"), "--json")
    return asset


def agreement(town: Town, asset: str) -> str:
    """A fresh open agreement between bank and department."""
    grant_id = grant_people(town, asset, "statistics")
    seen = town.at("bank", "offer", "show", asset, "--provider", town["department"])["offerHash"]
    order = (
        "agreement",
        "open",
        "--grant",
        grant_id,
        "--cap",
        "2000",
        "--arbiter",
        town["supervisor"],
        "--yes",
        "--offer",
        seen,
    )
    made = retried(*order, *town.node("bank"), "--json")
    eventually(
        lambda: town.at("department", "agreement", "show", made["agreementId"])["state"] == "open"
    )
    return str(made["agreementId"])


def called(town: Town, agreement_id: str) -> dict[str, Any]:
    made = retried("call", "one", "--agreement", agreement_id, *CALL, *town.node("bank"), "--json")
    assert (made["outcome"], made["amount"]) == ("served", 50)
    return dict(made)


def restart(town: Town, *names: str) -> None:
    for name in names:
        node = town.organisations[name].node
        node.stop()
        node.start()
    for name in names:
        town.organisations[name].node.wait_ready(town.organisations[name].client(None))


def replace(town: Town, name: str, purpose: str, *more: str) -> dict[str, Any]:
    return dict(
        town.at(
            name,
            "node",
            "key",
            "replace",
            purpose,
            "--share-with",
            town["operator"],
            "--share-with",
            town["supervisor"],
            *more,
        )
    )


def put_in_use(town: Town, name: str, purpose: str) -> str:
    """The steps up to the restart, and that; the new key. The command ends, and is run again,
    between any two.
    """
    key = registered(town, name, purpose)
    restart(town, name)
    return key


def registered(town: Town, name: str, purpose: str) -> str:
    """The steps up to the restart."""
    waits = replace(town, name, purpose, "--no-wait")
    assert (waits["done"], waits["waitsFor"]) == (False, "the approvals of two governors")
    following = next(key for key in keys(town, name, purpose) if key["stage"] == "next")
    again = replace(town, name, purpose, "--no-wait")
    assert again == waits, "one key and one proposal, however often it is run"
    proposal = proposal_for(town, name, following["fingerprint"])
    for governor in ("operator", "supervisor"):
        retried(
            "member",
            "approve",
            proposal,
            "--key",
            admin_key(town, governor),
            "--yes",
            "--no-wait",
            *town.node(governor),
            "--json",
        )
    eventually(lambda: following["fingerprint"] in live(town, name, purpose))
    waits = replace(town, name, purpose, "--no-wait")
    assert waits["waitsFor"].startswith("the restart of")
    assert waits["key"] == following["fingerprint"]
    return str(waits["key"])


def proposal_for(town: Town, name: str, fingerprint: str) -> str:
    (found,) = [
        proposal["proposalId"]
        for proposal in town.at(name, "member", "proposals")["proposals"]
        if proposal["function"] == "addKey"
        and proposal["arguments"]["key"]["fingerprint"] == fingerprint
    ]
    return str(found)


def keys(town: Town, name: str, purpose: str) -> list[dict[str, Any]]:
    return [
        key for key in town.at(name, "node", "key", "show")["keys"] if key["purpose"] == purpose
    ]


def live(town: Town, name: str, purpose: str) -> list[str]:
    return [
        key["fingerprint"]
        for key in keys(town, name, purpose)
        if key["sinceBlock"] and not key["endedAtBlock"]
    ]


def finished(town: Town, name: str, purpose: str) -> dict[str, Any]:
    """The command run again until it is done."""
    made: dict[str, Any] = eventually(
        lambda: (state := replace(town, name, purpose))["done"] and state
    )
    assert live(town, name, purpose) == [made["key"]], "exactly one live key"
    return made


def agree(town: Town, agreement_id: str) -> None:
    auditor = town.organisations["supervisor"].client("auditor")
    reported = eventually(
        lambda: (
            (found := auditor.get(f"/v1/agreements/{agreement_id}/reconciliation"))["agree"]
            and found
        )
    )
    assert {finding["kind"] for finding in reported["findings"]} <= {"unclaimed"}


def pinned(town: Town, name: str, agreement_id: str) -> dict[str, Any]:
    return dict(town.at(name, "agreement", "show", agreement_id)["agreement"])


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(("department",), marks=pytest.mark.long),
        pytest.param(("bank",), marks=pytest.mark.long),
        ("department", "bank"),
    ],
    ids=lambda names: "-and-".join(names),
)
def test_a_trade_goes_on_across_the_replacement_of_statement_keys_and_verifies(
    town: Town, published: str, tmp_path: Path, names: tuple[str, ...]
) -> None:
    before = agreement(town, published)
    first = called(town, before)
    new = {name: put_in_use(town, name, "statement") for name in names}
    second = called(town, before)
    assert second["seq"] == first["seq"] + 1
    for name in names:
        waits = replace(town, name, "statement")
        assert "agreements pin it" in waits["waitsFor"]
        assert len(live(town, name, "statement")) == 2
    after = agreement(town, published)
    called(town, after)
    sides = {"department": "providerKey", "bank": "buyerKey"}
    for name in names:
        assert pinned(town, name, after)[sides[name]] == "0x" + new[name][26:], (
            "what is signed again pins the new key"
        )
        assert pinned(town, name, before)[sides[name]] != "0x" + new[name][26:]
    for closed in (before, after):
        agree(town, closed)
        town.at("bank", "agreement", "close", closed)
        eventually(
            lambda closed=closed: (
                town.at("department", "agreement", "show", closed)["state"] == "closed"
            )
        )
    for name in names:
        finished(town, name, "statement")

    trust = tmp_path / "trust.json"
    output_of(
        "trust",
        "make",
        *town.node("operator"),
        "--witness",
        town["supervisor"],
        "--out",
        str(trust),
        "--json",
    )
    for number, reported in enumerate((before, after)):
        bundle = tmp_path / f"{number}.json"
        retried(
            "agreement", "lane-bundle", reported, "--out", str(bundle), *town.node("department")
        )
        assert output_of("verify", str(bundle), "--trust", str(trust), "--json")["valid"]


def test_a_log_under_another_key_is_one_log_to_its_witness(town: Town, published: str) -> None:
    supervisor = town.organisations["supervisor"].client("auditor")
    witness = town.organisations["supervisor"].node
    traded = agreement(town, published)
    called(town, traded)
    # The witness is away while heads under the old key are anchored, so that it meets them after
    # the change.
    new = registered(town, "department", "log")
    witness.stop()
    for _ in range(2):
        called(town, traded)
        town.at("department", "log", "anchor")
    restart(town, "department")
    called(town, traded)
    witness.start()
    witness.wait_ready(town.organisations["supervisor"].client(None))
    called(town, traded)
    size = eventually(lambda: town.at("department", "log", "show"))["size"]

    def cosigned() -> bool:
        shown = town.at("department", "log", "show")
        return town["supervisor"] in shown["cosignatures"] and shown["size"] >= size

    eventually(cosigned)
    assert supervisor.get("/v1/log/forks")["forks"] == []
    assert finished(town, "department", "log")["key"] == new
    called(town, traded)
    size = town.at("department", "log", "show")["size"]
    eventually(cosigned)
    assert supervisor.get("/v1/log/forks")["forks"] == []
    restart(town, "department")
    called(town, traded)
    agree(town, traded)


def test_after_the_witness_replaced_its_own_log_key_its_cosignatures_are_taken(
    town: Town, published: str
) -> None:
    put_in_use(town, "supervisor", "log")
    finished(town, "supervisor", "log")
    called(town, agreement(town, published))
    size = town.at("department", "log", "show")["size"]
    eventually(
        lambda: (
            (shown := town.at("department", "log", "show"))["size"] >= size
            and town["supervisor"] in shown["cosignatures"]
        )
    )


def test_tokens_under_a_replaced_key_open_nothing(town: Town, published: str) -> None:
    bank = town.organisations["bank"]
    old = token_key(town, "bank", "token")
    traded = agreement(town, published)
    put_in_use(town, "bank", "token")
    called(town, traded)
    finished(town, "bank", "token")
    called(town, traded)
    deployment = Deployment.load(town.deployment)
    issuer = TokenIssuer(member=bank.member, signer=old, deployment=deployment)
    department = town.organisations["department"]
    path = "/v1/peer/log/head"
    header = issuer.issue(audience=department.member, method="GET", target=path, body=b"")

    def refused() -> bool:
        answer = department.client(None).raw("GET", path, b"", {"authorization": header})
        return answer.status == 401 and json.loads(answer.body)["code"] == "token_key_unknown"

    assert refused()


def token_key(town: Town, name: str, key: str) -> Secp256k1Signer:
    config = load(town.organisations[name].plan.directory / CONFIG_FILE)
    return KeyStore(config.path(config.keys.dir), config.passphrase()).secp256k1(key)


def test_calls_owed_to_the_chain_are_sent_once_across_the_replacement_of_the_transaction_key(
    town: Town, published: str
) -> None:
    department = town.organisations["department"]
    traded = agreement(town, published)
    key = registered(town, "department", "transaction")
    department.node.kill_outbox()
    called(town, traded)
    before = withdrawn(town, "before")
    assert state_of(department, before) == "queued"
    department.node.start_outbox()
    eventually(lambda: state_of(department, before) != "queued")
    department.node.kill_outbox()
    restart(town, "department")
    after = withdrawn(town, "after")
    for operation in (before, after):
        assert (
            department.client("clerk").get(f"/v1/operations/{operation}?wait=30")["state"] == "done"
        )
    assert finished(town, "department", "transaction")["key"] == key
    senders = sent_by(department)
    assert senders[before] != senders[after] == "0x" + key[26:]
    agree(town, traded)


def withdrawn(town: Town, order: str) -> str:
    """One of the department's own calls to the chain, not waited for; its operation."""
    return str(
        town.organisations["department"]
        .client("clerk")
        .post("/v1/withdrawals", {"amount": 1, "order": order})["operation"]
    )


def state_of(organisation: Organisation, operation: str) -> str:
    """How far the outbox is with a call, by the node's own database."""
    with sqlite3.connect(organisation.plan.directory / "data" / "node.db") as database:
        query = "select state from outbox_call where operation_id = ?"
        return str(database.execute(query, (operation,)).fetchone()[0])


def sent_by(organisation: Organisation) -> dict[str, str]:
    with sqlite3.connect(organisation.plan.directory / "data" / "node.db") as database:
        return dict(database.execute("select operation_id, sender from outbox_call").fetchall())


def test_a_persons_key_is_replaced_by_two_proposals(
    town: Town, admitted: dict[str, Any], tmp_path: Path
) -> None:
    old, following = town.organisations["agency"].plan.officer_key, tmp_path / "officer-next.json"
    arguments = ("key", "replace", str(old), "--next", str(following), "--purpose", "approval")
    shared = ("--share-with", town["operator"], "--share-with", town["supervisor"])
    proposals = []
    while not (state := town.at("agency", *arguments, *shared))["done"]:
        proposals.append(state["proposal"])
        assert town.at("agency", *arguments, *shared)["proposal"] == state["proposal"], (
            "run again, it makes no second proposal"
        )
        for governor in ("operator", "supervisor"):
            retried(
                "member",
                "approve",
                state["proposal"],
                "--key",
                admin_key(town, governor),
                "--yes",
                "--no-wait",
                *town.node(governor),
                "--json",
            )
        eventually(
            lambda reported=state: town.at("agency", "member", "proposal", reported["proposal"])[
                "executedAt"
            ]
        )
    assert len(proposals) == 2
    held = town.at("agency", "member", "show", town["agency"])["keys"]
    assert [
        key["fingerprint"] for key in held if key["purpose"] == "approval" and not key["endedAt"]
    ] == [state["key"]]


def test_a_stolen_statement_key_is_ended_at_once_and_what_pins_it_is_refused_unbilled(
    town: Town, published: str
) -> None:
    traded = agreement(town, published)
    served = called(town, traded)
    refused = run_command("node", "key", "end", "statement", *town.node("department"))
    assert (refused.code, refused.err.partition(":")[0]) == (2, "error[key_in_use]")
    output_of(
        "node",
        "key",
        "end",
        "statement",
        "--stolen",
        "--reason",
        "key-lost",
        *town.node("department"),
    )
    eventually(lambda: refusal(town, traded) == "key_ended")
    put_in_use(town, "department", "statement")
    finished(town, "department", "statement")
    assert refusal(town, traded) == "key_ended"
    agree(town, traded)
    town.at("bank", "agreement", "close", traded, "--no-wait")
    auditor, path = (
        town.organisations["bank"].client("auditor"),
        f"/v1/agreements/{traded}/reconciliation",
    )
    eventually(lambda: auditor.get(path)["money"]["paid"] == str(served["amount"]))
    called(town, agreement(town, published))


def refusal(town: Town, agreement_id: str) -> str:
    """The code with which a call is refused."""
    answer = run_command(
        "call", "one", "--agreement", agreement_id, *CALL, *town.node("bank"), "--json"
    )
    assert answer.code != 0, answer.out
    return answer.err.splitlines()[-1].removeprefix("error[").partition("]")[0]


@pytest.mark.parametrize("name", ["department", pytest.param("bank", marks=pytest.mark.long)])
def test_a_node_without_the_key_that_an_agreement_pins_signs_and_bills_nothing_and_halts_no_lane(
    town: Town, published: str, name: str
) -> None:
    traded = agreement(town, published)
    first = called(town, traded)
    directory = town.organisations[name].plan.directory / "keys"
    statement_key = (directory / "statement.key.json").read_bytes()
    config = load(town.organisations[name].plan.directory / CONFIG_FILE)
    store = KeyStore(directory, config.passphrase())
    hidden = {path: path.read_bytes() for path in directory.glob("statement.*.key.json")}
    for path in hidden:
        path.unlink()
    store.add("statement", Algorithm.SECP256K1, new_private_key())
    restart(town, name)
    answer = run_command("call", "one", "--agreement", traded, *CALL, *town.node("bank"), "--json")
    assert answer.code != 0
    assert "pinned_key_not_held" in answer.err, answer.err
    for path, content in {directory / "statement.key.json": statement_key, **hidden}.items():
        path.write_bytes(content)
    restart(town, name)
    agree(town, traded)
    assert called(town, traded)["lane"] == first["lane"]


def test_a_node_shows_its_next_tls_key_before_the_old_one_ends(town: Town, published: str) -> None:
    agency = town.organisations["agency"]
    new = put_in_use(town, "agency", "tls")
    assert finished(town, "agency", "tls")["key"] == new
    certificate = x509.load_pem_x509_certificate(
        ssl.get_server_certificate((agency.plan.host, agency.plan.port)).encode()
    )
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert "0x" + tls_fingerprint(key).hex() == new
