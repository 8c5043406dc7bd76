"""Real node processes on a real chain: logs, refusals, and durability through kills and a full
disk.
"""

from __future__ import annotations

import contextlib
import json
import resource
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chain.core.crypto import keccak256
from chain.core.errors import QiaolianError
from chain.statements.members import Approval
from nodes import provision
from nodes.client import NodeClient
from nodes.provision import Organisation
from registry.uscc import with_check_character
from tests.nodes.conftest import TestNetwork, eventually

ROOT = Path(__file__).parents[2]


def publication(name: str, source: str = "people") -> dict[str, Any]:
    return {
        "name": name,
        "source": source,
        "description": {
            "titleZh": "人员",
            "titleEn": "People",
            "description": "Test records",
            "grade": 3,
        },
        "masking": {"age": "keep", "area": "keep", "note": "drop"},
        "purposes": {"statistics": {}},
    }


@pytest.fixture
def department(network: TestNetwork) -> Iterator[Organisation]:
    found = network.of("department")
    yield found
    found.node.start()
    found.node.wait_ready(found.client(None))


def test_every_node_reports_its_identity_and_is_ready(network: TestNetwork) -> None:
    for organisation in network.organisations:
        answer = organisation.client(None).get("/v1/node")
        assert (answer["member"], answer["roles"]) == (
            organisation.member,
            list(organisation.plan.roles),
        )
        assert organisation.client(None).get("/readyz")["ready"] is True
        assert organisation.client(None).get("/healthz") == {"status": "running"}


def test_what_one_publishes_all_find(network: TestNetwork, department: Organisation) -> None:
    asset = department.client("clerk").post("/v1/assets", publication("people-all"))
    for organisation in network.organisations:
        client = organisation.client("clerk")
        listed = eventually(lambda client=client: client.get("/v1/assets?q=people-all")["assets"])
        assert [row["assetId"] for row in listed] == [asset["assetId"]]
    described = network.of("bank").client("clerk").get(f"/v1/assets/{asset['assetId']}")
    assert described["metadata"]["titleZh"] == "人员"


def certificate() -> dict[str, Any]:
    """A request that makes the node sign and log a statement."""
    return {
        "identity": {"code": member_of(9)},
        "identitySalt": "0x" + "5a" * 32,
        "key": "0x" + secrets.token_hex(20),
        "purpose": "consent",
        "notAfter": int(time.time()) + 3600,
    }


def approve_at(network: TestNetwork, organisation: Organisation) -> None:
    """Send a governor's approval of a proposal, which any node takes and logs."""
    client = organisation.client("administrator")
    arguments = {"member": network.of("bank").member, "reason": "test"}
    proposal = client.post(
        "/v1/governance/proposals", {"function": "suspend", "arguments": arguments}
    )
    approval = Approval.from_json(proposal["approval"])
    signature = (
        network.organisations[0]
        .administrator()
        .sign(approval, network.deployment.domain("MemberDirectory"))
    )
    client.post(
        f"/v1/governance/proposals/{proposal['proposalId']}/approvals",
        {"signature": "0x" + signature.hex()},
    )


def anchored(network: TestNetwork, organisation: Organisation) -> int:
    """Entries of the organisation's log that the chain anchors; asked again where a new block
    overtook the question.
    """
    log_id = keccak256(organisation.client("auditor").get("/v1/log")["origin"].encode())
    (size,) = eventually(lambda: (int(network.ledger.evidence.log(log_id).size),))
    return int(size)


def test_a_statement_is_checkpointed_anchored_and_cosigned_without_anybody_asking(
    network: TestNetwork, department: Organisation
) -> None:
    auditor, supervisor = department.client("auditor"), network.of("supervisor").member
    before = auditor.get("/v1/log")["size"]
    department.client("clerk").post("/v1/certificates", certificate())
    assert eventually(lambda: (auditor.get("/v1/log").get("size") or 0) > before)
    assert eventually(lambda: supervisor in (auditor.get("/v1/log").get("cosignatures") or ""))
    assert eventually(lambda: anchored(network, department) > before)


def test_a_node_that_ran_before_its_admission_anchors_its_log_afterwards(
    network: TestNetwork, tmp_path: Path
) -> None:
    first = network.organisations[0].plan
    wanted = provision.OrganisationPlan(
        member_of(50), "early", ("department",), extra_tables={"workers": {"anchor_seconds": 0.5}}
    )
    (early,) = provision.create_organisations(
        tmp_path, [wanted], rpc=first.rpc, deployment=Path(first.deployment)
    )
    try:
        provision.start_all([early])
        with pytest.raises(QiaolianError) as stranger:
            early.client("clerk").post("/v1/certificates", certificate())
        assert stranger.value.code == "issuer_not_department"
        approve_at(network, early)
        refused = eventually(lambda: first_anchor(early))
        assert (refused["state"], refused["code"]) == ("reverted", "not_member_key")
        network.governance.admit([early.admission])
        assert eventually(lambda: anchored(network, early))
    finally:
        provision.stop_all([early])


def first_anchor(organisation: Organisation) -> dict[str, Any] | None:
    """The call that anchors the log's first entries, once it has ended: the statement's, and those
    of the acts around it.
    """
    for size in range(1, 10):
        with contextlib.suppress(QiaolianError):
            found: dict[str, Any] = organisation.client("auditor").get(
                f"/v1/operations/anchor/0/{size}?wait=20"
            )
            return found
    return None


def test_a_node_restored_from_an_old_backup_signs_nothing_and_reports_it(
    network: TestNetwork, department: Organisation, tmp_path: Path
) -> None:
    clerk, database = department.client("clerk"), department.plan.directory / "data" / "node.db"
    clerk.post("/v1/certificates", certificate())
    copied(database, tmp_path / "old.db")
    before = entries(tmp_path / "old.db")
    clerk.post("/v1/certificates", certificate())
    assert eventually(lambda: anchored(network, department) > before)
    department.node.stop()
    copied(database, tmp_path / "new.db")

    def waits_for_its_books() -> bool:
        with contextlib.suppress(QiaolianError):
            dependencies = json.loads(department.client(None).raw("GET", "/readyz", b"", {}).body)[
                "dependencies"
            ]
            return [
                (dependency["name"], dependency["code"])
                for dependency in dependencies
                if not dependency["up"]
            ] == [("restore guard", "log_behind_chain")]
        return False

    try:
        copied(tmp_path / "old.db", database)
        department.node.start()
        assert eventually(waits_for_its_books)
        with pytest.raises(QiaolianError) as caught:
            clerk.post("/v1/certificates", certificate())
        assert (caught.value.code, caught.value.status) == ("log_behind_chain", 409)
    finally:
        department.node.stop()
        copied(tmp_path / "new.db", database)
    department.node.start()
    department.node.wait_ready(department.client(None))
    assert clerk.post("/v1/certificates", certificate())["signature"]


def entries(database: Path) -> int:
    """All entries of a log, also those that its tree does not have yet."""
    with sqlite3.connect(database) as opened:
        return sum(
            opened.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("evidence_entry", "evidence_pending")
        )


def copied(source: Path, target: Path) -> None:
    """A database as SQLite's online backup takes it, in the place of what was there."""
    for path in (
        target,
        target.with_name(target.name + "-wal"),
        target.with_name(target.name + "-shm"),
    ):
        path.unlink(missing_ok=True)
    with sqlite3.connect(source) as now, sqlite3.connect(target) as copy:
        now.backup(copy)


def member_of(index: int) -> str:
    return with_check_character(f"11440700MB2N0E{index:03d}")


def test_the_api_process_never_opens_the_transaction_key(department: Organisation) -> None:
    key = department.plan.directory / "keys" / "transaction.key.json"
    hidden = key.with_name("elsewhere")
    department.node.stop()
    key.rename(hidden)
    try:
        department.node.start(outbox=False)
        department.node.wait_ready(department.client(None))
    finally:
        hidden.rename(key)


def test_sigterm_ends_both_processes_cleanly(department: Organisation) -> None:
    api, outbox = department.node.api, department.node.outbox
    log_file = department.plan.directory / "outbox.log"
    assert eventually(
        lambda: [line for line in log_file.read_text().splitlines() if '"outbox ' in line][
            -1
        ].endswith('"outbox runs"}')
    )
    for item in (api, outbox):
        item.send_signal(signal.SIGTERM)
    assert (api.wait(60), outbox.wait(60)) == (0, 0)


def test_what_was_acknowledged_outlives_kill_9(
    network: TestNetwork, department: Organisation
) -> None:
    clerk = department.client("clerk")
    published = []
    for index in range(3):
        published.append(clerk.post("/v1/assets", publication(f"people-kill-{index}"))["assetId"])
        department.node.kill()
        department.node.kill_outbox()
        clerk.close()
        department.node.start()
        department.node.wait_ready(clerk)
    auditor = network.of("bank").client("clerk")

    def seen() -> bool:
        listed = {row["assetId"] for row in auditor.get("/v1/assets?q=people-kill")["assets"]}
        return listed == set(published)

    assert eventually(seen)


def test_a_full_disk_has_its_own_code_and_leaves_nothing_half_done(
    department: Organisation,
) -> None:
    clerk = department.client("clerk")
    pid = department.node.api.pid
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        with pytest.raises(QiaolianError) as caught:
            clerk.post("/v1/assets", publication("people-full"))
        assert (caught.value.code, caught.value.status) == ("database_unavailable", 503)
        answer = eventually(lambda: down_of(department.client(None)))
        assert "database" in answer
    finally:
        resource.prlimit(
            pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        )
    department.node.wait_ready(department.client(None))
    # The very same request succeeds once there is room: nothing of the first prevents it.
    assert clerk.post("/v1/assets", publication("people-full"))["assetId"]


def down_of(client: NodeClient) -> list[str]:
    answer = json.loads(client.raw("GET", "/readyz", b"", {}).body)
    return [dependency["name"] for dependency in answer["dependencies"] if not dependency["up"]]


def test_a_chain_that_stops_answering_is_named_by_readyz(network: TestNetwork) -> None:
    operator = network.of("operator")
    network.chain.process.send_signal(signal.SIGSTOP)
    try:
        assert eventually(lambda: down_of(operator.client(None))) == ["chain"]
    finally:
        network.chain.process.send_signal(signal.SIGCONT)
    assert eventually(lambda: not down_of(operator.client(None)))


def test_one_unusable_source_is_reported_and_the_rest_of_the_node_serves(
    network: TestNetwork,
) -> None:
    bank = network.of("bank")
    assert eventually(lambda: down_of(bank.client(None))) == ["sources"]
    answer = bank.client("auditor").get("/readyz")
    (source,) = [part for part in answer["dependencies"] if not part["up"]]
    assert source["name"] == "source ledger"
    assert (answer["ready"], source["code"]) == (True, "source_driver_missing")
    assert source["hint"]
    assert "hidden" not in json.dumps(answer)
    strangers = bank.client(None).get("/readyz")["dependencies"]
    assert [part["code"] for part in strangers if not part["up"]] == ["source_down"]
    assert "ledger" not in json.dumps(strangers)
    assert (
        "qiaolian_sources_down 1.0\n"
        in bank.client("auditor")
        .raw("GET", "/metrics", b"", bank.client("auditor").headers())
        .body.decode()
    )
    with pytest.raises(QiaolianError) as refused:
        bank.client("clerk").post("/v1/assets", {**publication("unusable"), "source": "ledger"})
    assert (refused.value.code, refused.value.status) == ("source_driver_missing", 503)


@pytest.mark.parametrize("changed", [{"chainId": 7}, {"genesisHash": "0x" + "11" * 32}])
def test_a_chain_node_of_another_chain_is_refused_and_nothing_is_signed(
    network: TestNetwork, tmp_path: Path, changed: dict[str, Any]
) -> None:
    deployment = tmp_path / "deployment.json"
    deployment.write_text(json.dumps({**network.deployment.to_json(), **changed}))
    wanted = provision.OrganisationPlan(member_of(60), "elsewhere", ("department",))
    (lost,) = provision.create_organisations(
        tmp_path, [wanted], rpc=[network.chain.url], deployment=deployment
    )
    lost.node.start(outbox=False)
    try:
        found = eventually(lambda: codes_of(lost.client(None)))
        assert found == {"chain": "chain_wrong_id", "restore guard": "restore_unchecked"}
        with pytest.raises(QiaolianError) as refused:
            lost.client("clerk").post("/v1/certificates", certificate())
        assert (refused.value.code, refused.value.status) == ("chain_wrong_id", 503)
    finally:
        lost.node.stop()


def codes_of(client: NodeClient) -> dict[str, str]:
    """What is down, with its code; nothing before the chain was tried."""
    down = {
        dependency["name"]: dependency["code"]
        for dependency in json.loads(client.raw("GET", "/readyz", b"", {}).body)["dependencies"]
        if not dependency["up"]
    }
    return {} if down.get("chain") == "chain_view_stale" else down


def test_an_outbox_that_does_not_run_is_named_by_readyz(network: TestNetwork) -> None:
    operator = network.of("operator")
    operator.node.kill_outbox()
    try:
        deposit = {"member": network.of("bank").member, "amount": 1, "reference": "lag/1"}
        operation = operator.client("clerk").post("/v1/deposits", deposit)["operation"]
        assert eventually(lambda: down_of(operator.client(None))) == ["outbox"]
    finally:
        operator.node.start_outbox()
    assert operator.client("clerk").get(f"/v1/operations/{operation}?wait=20")["state"] == "done"
    assert eventually(lambda: not down_of(operator.client(None)))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"name": "a", "name": "b"}', "json_duplicate_key"),
        (b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "json_too_deep"),
        (b'{"name": ' + b"9" * 5_000 + b"}", "json_number_out_of_range"),
        (b'{"name": 1.5}', "json_number_out_of_range"),
        (b'{"name": NaN}', "json_number_out_of_range"),
        (b'{"name": "\xff"}', "json_not_utf8"),
        (b'{"name": ', "json_malformed"),
        (b"[]", "request_invalid"),
        (b'{"name": 5, "extra": 1}', "request_invalid"),
    ],
)
def test_broken_json_is_refused_by_code(department: Organisation, body: bytes, code: str) -> None:
    status, answer = raw_post(department, body)
    assert (status, answer["code"]) == (422, code)


def raw_post(
    organisation: Organisation, body: bytes, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    token = json.loads((organisation.plan.directory / "handout.json").read_text())["clerk"]
    sent = {
        "authorization": f"Bearer {token}",
        "content-type": "application/json",
        **(headers or {}),
    }
    answer = organisation.client(None).raw("POST", "/v1/assets", body, sent)
    assert answer.content_type == "application/problem+json"
    return answer.status, json.loads(answer.body)


def test_a_body_over_the_limit_is_refused(department: Organisation) -> None:
    status, answer = raw_post(department, b'{"a": "' + b"x" * 10_000_001 + b'"}')
    assert (status, answer["code"]) == (413, "body_too_large")


def test_unknown_paths_and_methods_are_problems_too(department: Organisation) -> None:
    client = department.client(None)
    for method, path, code in (
        ("GET", "/nothing", "path_unknown"),
        ("DELETE", "/healthz", "method_not_allowed"),
    ):
        with pytest.raises(QiaolianError) as caught:
            client.request(method, path)
        assert caught.value.code == code


def test_local_roles_have_separate_rights(department: Organisation) -> None:
    with pytest.raises(QiaolianError) as caught:
        department.client(None).get("/v1/assets")
    assert caught.value.status == 401
    with pytest.raises(QiaolianError) as caught:
        department.client("auditor").post("/v1/assets", publication("people-role"))
    assert (caught.value.code, caught.value.status) == ("role_missing", 403)


def test_answers_carry_security_headers_and_the_api_loads_nothing_from_elsewhere(
    department: Organisation,
) -> None:
    import http.client
    import ssl
    from urllib.parse import urlsplit

    context = ssl.create_default_context(cafile=str(department.certificate))
    context.check_hostname = False
    connection = http.client.HTTPSConnection(
        "127.0.0.1", urlsplit(department.url).port, context=context
    )
    connection.request("GET", "/openapi.json")
    response = connection.getresponse()
    described = json.loads(response.read())
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"
    assert "server" not in response.headers
    assert "/v1/calls" in described["paths"]
    connection.close()
    for path in ("/docs", "/redoc"):
        with pytest.raises(QiaolianError) as caught:
            department.client(None).get(path)
        assert caught.value.code == "path_unknown"


def test_metrics_count_calls_and_refusals_for_those_who_may_see_them(
    department: Organisation,
) -> None:
    with pytest.raises(QiaolianError) as caught:
        department.client(None).get("/metrics")
    assert caught.value.status == 401
    text = department.client("system").get("/metrics")
    for name in (
        "requests_total",
        "refusals_total",
        "request_seconds_bucket",
        "view_age_seconds",
        "outbox_depth",
        "log_size",
    ):
        assert f"qiaolian_{name}" in text
    assert 'code="access_token_missing"' in text


def node_command(directory: Path, action: str = "run") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nodes", action, "--config", str(directory / "node.toml")]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False
    )


def test_a_port_in_use_is_one_sentence(department: Organisation) -> None:
    done = node_command(department.plan.directory)
    assert done.returncode != 0
    assert "port_in_use" in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def laid_out(network: TestNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a node that never ran, for copies."""
    wanted = provision.OrganisationPlan(member_of(61), "laid out", ("department",))
    (made,) = provision.create_organisations(
        tmp_path_factory.mktemp("laid-out"),
        [wanted],
        rpc=[network.chain.url],
        deployment=Path(network.organisations[0].plan.deployment),
    )
    return made.plan.directory


@pytest.mark.parametrize(
    ("file", "content", "code"),
    [
        ("keys/statement.key.json", "{}", "key_file_corrupt"),
        ("passphrase", "wrong", "key_passphrase_wrong"),
        ("access.json", "{", "access_malformed"),
        ("access.json", '{"tokens": [{"role": "clerk", "sha256": "00"}]}', "access_unnamed"),
        ("keys/tls.crt.pem", "nothing", "certificate_wrong"),
    ],
)
def test_a_broken_file_of_the_node_is_one_sentence(
    laid_out: Path, tmp_path: Path, file: str, content: str, code: str
) -> None:
    directory = tmp_path / "node"
    shutil.copytree(laid_out, directory)
    (directory / file).write_text(content)
    done = node_command(directory)
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1].startswith(code)
    assert "Traceback" not in done.stderr


def test_the_logs_are_json_without_record_content(department: Organisation) -> None:
    lines = (department.plan.directory / "run.log").read_text().splitlines()
    assert all(json.loads(line)["logger"] for line in lines)
    assert not any("华侨城" in line for line in lines)
