"""Attacks on node-to-node tokens, against a real node: each is refused by its code."""

from __future__ import annotations

import base64
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chain.core.crypto import new_private_key
from chain.core.errors import Unavailable
from chain.ethereum.deployment import Deployment
from chain.keys.files import KeyStore, Secp256k1Signer
from chain.statements.members import KeyPurpose
from nodes import config
from nodes.client import NodeClient
from nodes.provision import Organisation
from nodes.tokens import MAX_LIFETIME_SECONDS, NonceLog, TokenIssuer
from tests.nodes.conftest import TestNetwork, eventually

PATH = "/v1/peer/ping"
BODY = b'{"a":1}'


def key_of(organisation: Organisation, name: str = "token") -> Secp256k1Signer:
    read = config.load(organisation.plan.directory / "node.toml")
    return KeyStore(organisation.plan.directory / "keys", read.passphrase()).secp256k1(name)


@pytest.fixture
def issuer(network: TestNetwork) -> TokenIssuer:
    bank = network.of("bank")
    return TokenIssuer(member=bank.member, signer=key_of(bank), deployment=network.deployment)


@pytest.fixture
def target(network: TestNetwork) -> Organisation:
    return network.of("department")


@pytest.fixture
def client(target: Organisation) -> Iterator[NodeClient]:
    made = target.client(None)
    yield made
    made.close()


def send(
    client: NodeClient,
    token: str | None,
    *,
    body: bytes = BODY,
    method: str = "POST",
    path: str = PATH,
) -> tuple[int, Any]:
    headers = {"content-type": "application/json"}
    if token is not None:
        headers["authorization"] = token
    answer = client.raw(method, path, body, headers)
    return answer.status, json.loads(answer.body)


def refused(client: NodeClient, token: str | None, **changed: Any) -> tuple[int, str]:
    status, answer = send(client, token, **changed)
    return status, answer["code"]


def claims(issuer: TokenIssuer, target: Organisation, **changed: Any) -> dict[str, Any]:
    token = issuer.issue(audience=target.member, method="POST", target=PATH, body=BODY)
    encoded = token.removeprefix("Qiaolian ").partition(".")[0]
    raw = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    return {**json.loads(raw), **changed}


def test_a_fresh_token_is_accepted_and_names_its_sender(
    network: TestNetwork, issuer: TokenIssuer, target: Organisation, client: NodeClient
) -> None:
    token = issuer.issue(audience=target.member, method="POST", target=PATH, body=BODY)
    assert send(client, token) == (200, {"member": network.of("bank").member, "bytes": len(BODY)})


def test_no_token_is_refused(client: NodeClient) -> None:
    assert refused(client, None) == (401, "token_missing")


@pytest.mark.parametrize(
    "token",
    ["Qiaolian", "Qiaolian a.b", "Qiaolian e30.AAAA", "Basic eHg6eQ==", "Qiaolian " + "A" * 5000],
)
def test_what_is_no_token_is_refused(client: NodeClient, token: str) -> None:
    assert refused(client, token) == (401, "token_malformed")


def test_a_replayed_token_is_refused(
    issuer: TokenIssuer, target: Organisation, client: NodeClient
) -> None:
    token = issuer.issue(audience=target.member, method="POST", target=PATH, body=BODY)
    assert send(client, token)[0] == 200
    assert refused(client, token) == (401, "token_replayed")


def test_a_replayed_token_is_refused_after_a_kill_of_the_node(
    issuer: TokenIssuer, target: Organisation, client: NodeClient
) -> None:
    token = issuer.issue(
        audience=target.member,
        method="POST",
        target=PATH,
        body=BODY,
        lifetime=MAX_LIFETIME_SECONDS,  # the node may take long to start again
    )
    assert send(client, token)[0] == 200
    target.node.kill()
    client.close()
    target.node.start()
    target.node.wait_ready(client)
    assert refused(client, token) == (401, "token_replayed")


def test_a_token_for_another_member_is_refused(
    network: TestNetwork, issuer: TokenIssuer, client: NodeClient
) -> None:
    token = issuer.issue(
        audience=network.of("operator").member, method="POST", target=PATH, body=BODY
    )
    assert refused(client, token) == (401, "token_wrong_audience")


@pytest.mark.parametrize(
    "changed", [{"body": b'{"a":2}'}, {"path": PATH + "?x=1"}, {"method": "GET", "body": b""}]
)
def test_a_token_of_another_request_is_refused(
    issuer: TokenIssuer, target: Organisation, client: NodeClient, changed: dict[str, Any]
) -> None:
    token = issuer.issue(audience=target.member, method="POST", target=PATH, body=BODY)
    assert refused(client, token, **changed) == (401, "token_wrong_request")


def test_an_expired_an_early_and_a_long_lived_token_are_refused(
    issuer: TokenIssuer, target: Organisation, client: NodeClient
) -> None:
    now = int(time.time())
    for times in (
        {"iat": now - 90, "exp": now - 30},
        {"iat": now + 30, "exp": now + 60},
        {"iat": now, "exp": now + 3600},
    ):
        assert refused(client, issuer.seal(claims(issuer, target, **times))) == (
            401,
            "token_expired",
        )


def test_a_changed_claim_breaks_the_signature(
    issuer: TokenIssuer, target: Organisation, client: NodeClient
) -> None:
    first, second = (
        issuer.issue(audience=target.member, method="POST", target=PATH, body=BODY)
        for _ in range(2)
    )
    mixed = first.partition(".")[0] + "." + second.partition(".")[2]
    assert refused(client, mixed)[1] in ("token_key_unknown", "token_bad_signature")
    mirrored = first[:-2] + ("A" if first[-2] != "A" else "B") + first[-1]
    assert refused(client, mirrored)[1] in ("token_key_unknown", "token_bad_signature")


def test_a_signature_that_is_none_is_refused(
    issuer: TokenIssuer, target: Organisation, client: NodeClient
) -> None:
    token = issuer.issue(audience=target.member, method="POST", target=PATH, body=BODY)
    assert refused(client, token.partition(".")[0] + "." + "A" * 87) == (401, "token_bad_signature")


def test_a_strangers_key_is_refused(
    network: TestNetwork, target: Organisation, client: NodeClient
) -> None:
    stranger = TokenIssuer(
        member=network.of("bank").member,
        signer=Secp256k1Signer(new_private_key()),
        deployment=network.deployment,
    )
    token = stranger.issue(audience=target.member, method="POST", target=PATH, body=BODY)
    assert refused(client, token) == (401, "token_key_unknown")


def test_a_members_own_key_of_another_purpose_is_refused(
    network: TestNetwork, target: Organisation, client: NodeClient
) -> None:
    bank = network.of("bank")
    wrong = TokenIssuer(
        member=bank.member, signer=key_of(bank, "statement"), deployment=network.deployment
    )
    token = wrong.issue(audience=target.member, method="POST", target=PATH, body=BODY)
    assert refused(client, token) == (401, "token_key_unknown")


def test_a_member_cannot_speak_for_another(
    network: TestNetwork, target: Organisation, client: NodeClient
) -> None:
    liar = TokenIssuer(
        member=network.of("operator").member,
        signer=key_of(network.of("bank")),
        deployment=network.deployment,
    )
    token = liar.issue(audience=target.member, method="POST", target=PATH, body=BODY)
    assert refused(client, token) == (401, "token_key_unknown")


def test_a_token_of_another_network_is_refused(
    network: TestNetwork, target: Organisation, client: NodeClient
) -> None:
    bank = network.of("bank")
    here = network.deployment
    elsewhere = Deployment(here.chain_id + 1, here.genesis_hash, here.contracts, here.deployed_at)
    token = TokenIssuer(member=bank.member, signer=key_of(bank), deployment=elsewhere).issue(
        audience=target.member, method="POST", target=PATH, body=BODY
    )
    assert refused(client, token)[1] in ("token_key_unknown", "token_bad_signature")


def test_a_suspended_member_is_refused_and_heard_again_when_lifted(
    network: TestNetwork, issuer: TokenIssuer, target: Organisation, client: NodeClient
) -> None:
    bank = network.of("bank")

    def code() -> str:
        status, answer = send(
            client, issuer.issue(audience=target.member, method="POST", target=PATH, body=BODY)
        )
        return "" if status == 200 else f"{status} {answer['code']}"

    network.governance.execute([("suspend", (bank.member, b"test".ljust(32, b"\0")))])
    try:
        assert eventually(code) == "403 member_suspended"
    finally:
        network.governance.execute([("lift", (bank.member,))])
    assert eventually(lambda: code() == "")


def test_an_ended_key_is_refused_at_the_next_block(
    network: TestNetwork, target: Organisation, client: NodeClient
) -> None:
    bank = network.of("bank")
    spare = Secp256k1Signer(new_private_key())
    network.governance.execute(
        [("addKey", (bank.member, (spare.fingerprint, int(KeyPurpose.TOKEN), 1)))]
    )
    issuer = TokenIssuer(member=bank.member, signer=spare, deployment=network.deployment)

    def code() -> str:
        status, answer = send(
            client, issuer.issue(audience=target.member, method="POST", target=PATH, body=BODY)
        )
        return "" if status == 200 else f"{status} {answer['code']}"

    assert eventually(lambda: code() == "")
    network.governance.execute([("endKey", (spare.fingerprint, b"lost".ljust(32, b"\0")))])
    assert eventually(code) == "401 token_key_unknown"


def test_an_unknown_bearer_token_is_refused(client: NodeClient) -> None:
    assert refused(client, "Bearer ql_guess") == (401, "access_token_unknown")


def test_nonces_outlive_a_kill_and_are_forgotten_when_expired(tmp_path: Path) -> None:
    now = [1_000_000.0]
    log = NonceLog(tmp_path / "nonces", clock=lambda: now[0], booted_at=0)
    nonce = b"n" * 16
    assert log.use(nonce, 1_000_030, issued_at=1_000_000, now=now[0])
    # No close: the process was killed.
    again = NonceLog(tmp_path / "nonces", clock=lambda: now[0], booted_at=0)
    assert not again.use(nonce, 1_000_030, issued_at=1_000_000, now=now[0])
    now[0] += 3600
    later = NonceLog(tmp_path / "nonces", clock=lambda: now[0], booted_at=0)
    assert (tmp_path / "nonces").stat().st_size == 0
    later.close()


def test_a_token_from_before_the_machine_booted_is_refused(tmp_path: Path) -> None:
    log = NonceLog(tmp_path / "nonces", clock=lambda: 1_000_000, booted_at=999_990)
    assert not log.use(b"n" * 16, 1_000_010, issued_at=999_980, now=1_000_000)
    log.close()


def test_a_nonce_that_the_disk_has_no_room_for_lets_nothing_through_and_puts_no_other_out_of_step(
    tmp_path: Path,
) -> None:
    path, nonces = tmp_path / "nonces", [bytes([index]) * 16 for index in range(5)]
    log = NonceLog(path, clock=lambda: 100.0, booted_at=0.0)

    def use(log: NonceLog, index: int) -> bool:
        return log.use(nonces[index], 150, issued_at=100, now=100)

    assert use(log, 0)
    assert use(log, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))
    try:
        for _ in range(2):
            with pytest.raises(Unavailable) as full:
                use(log, 2)
            assert full.value.code == "disk_unavailable"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert use(log, 3)
    log.close()
    again = NonceLog(path, clock=lambda: 101.0, booted_at=0.0)
    assert [use(again, index) for index in (0, 1, 3)] == [False] * 3
    assert use(again, 2), "what was refused was not used"


def test_a_full_disk_during_pruning_is_reported_and_recovers(tmp_path: Path) -> None:
    now = [100.0]
    nonces = NonceLog(tmp_path / "nonces", clock=lambda: now[0], booted_at=0.0)
    assert all(
        nonces.use(bytes([index]) * 16, 10_000, issued_at=100, now=100) for index in range(3)
    )
    now[0] = 1_000.0
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))
    try:
        for _ in range(2):
            with pytest.raises(Unavailable):
                nonces.use(b"n" * 16, 10_000, issued_at=1_000, now=1_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert nonces.use(b"n" * 16, 10_000, issued_at=1_000, now=1_000)
    assert not nonces.use(b"\0" * 16, 10_000, issued_at=1_000, now=1_000)


def test_a_torn_nonce_file_is_read_as_far_as_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "nonces").write_bytes(b"n" * 16 + (2**31).to_bytes(4, "big") + b"torn")
    log = NonceLog(tmp_path / "nonces", clock=lambda: 1_000_000, booted_at=0)
    assert not log.use(b"n" * 16, 2**31, issued_at=1_000_000, now=1_000_000)
    assert log.use(b"m" * 16, 2**31, issued_at=1_000_000, now=1_000_000)
    log.close()
