"""Networks of real validators: how they are made, what they say when they cannot run, and that a
final block stays.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from chain.core.crypto import address_of
from chain.core.errors import BadInput, Conflict, QiaolianError, Unavailable
from chain.engine.build import build, kcn_path
from chain.engine.console import SOCKET, call
from chain.engine.genesis import extra_data, genesis, new_chain_id
from chain.engine.network import Network, first_of_council
from chain.engine.validators import require_vote
from chain.ethereum import rlp
from chain.ethereum.finality import KaiaIbft
from chain.ethereum.headers import from_rpc, require_final
from chain.ethereum.rpc import Rpc, RpcRefused
from nodes.cli.main import main
from nodes.config import Chain

pytestmark = pytest.mark.system

QIAOLIAN = Path(sys.executable).with_name("qiaolian")
SECONDS = 90.0


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=150,
        check=False,
        env={**os.environ, **environment},
        umask=0,
    )


def refusal(done: subprocess.CompletedProcess[str]) -> tuple[int, str]:
    """The exit code and the stable code of a command that failed as it should: one line, a
    sentence, what to do next.
    """
    found = re.fullmatch(r"error\[([a-z_]+)\]: [A-Z0-9/].*[.)] .*\n", done.stderr)
    assert found is not None, done.stderr
    return done.returncode, found.group(1)


def node_key(directory: Path, index: int = 1) -> bytes:
    return bytes.fromhex((directory / f"validator-{index}" / "nodekey").read_text())


# --- The command ----------------------------------------------------------------------------------


def in_process(words: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """A command in this process, with the widest umask as in one of its own."""
    out, errors, umask = io.StringIO(), io.StringIO(), os.umask(0)
    try:
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(errors),
        ):
            for name, value in environment.items():
                patch.setenv(name, value)
            code = main(words)
    finally:
        os.umask(umask)
    return subprocess.CompletedProcess(words, code, out.getvalue(), errors.getvalue())


@dataclass
class Command:
    """``qiaolian network`` on a directory of its own, in this process or as one of its own."""

    directory: Path
    apart: bool = False

    def __call__(
        self, action: str, *options: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        words = ["network", action, "--dir", str(self.directory), *options]
        return (
            run([str(QIAOLIAN), *words], **environment)
            if self.apart
            else in_process(words, **environment)
        )

    def up(self, *options: str) -> str:
        done = self("up", *options, QIAOLIAN_PASSPHRASE="a secret of ours")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def down(self) -> None:
        assert self("down").returncode == 0

    @property
    def network(self) -> Network:
        return Network.load(self.directory)

    @property
    def content(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / "network.json").read_text())
        return found

    def edit(self, **changes: Any) -> None:
        (self.directory / "network.json").write_text(json.dumps({**self.content, **changes}))

    def pid(self) -> int | None:
        return next(self.network.pids(), None)


def _command(directory: Path) -> Iterator[Command]:
    build()
    made = Command(directory)
    try:
        yield made
    finally:
        if (directory / "network.json").exists():
            made.network.kill(0)
            made.network.destroy()


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    """A place without a network."""
    yield from _command(tmp_path / "network")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """A network that ``up`` made, for tests that leave it running."""
    for made in _command(tmp_path_factory.mktemp("running") / "network"):
        made.apart = True
        made.up("--validators", "1")
        made.apart = False
        yield made


def test_up_makes_a_network_of_one_validator_that_makes_blocks(running: Command) -> None:
    printed = running.up()
    content, network = running.content, running.network
    assert f"Chain {content['chainId']} runs with 1 validators" in printed
    assert content["validators"][0]["rpcUrl"] in printed
    rpc = Rpc(network.rpc_urls)
    chain_id, block = rpc.batch([("eth_chainId", ()), ("eth_getBlockByNumber", ("0x0", False))])
    assert int(chain_id, 16) == content["chainId"]
    assert block["hash"] == content["genesisHash"]
    network.wait_for_height(2)
    # Its seals are its own: what a verifier with this one address in its trust would check.
    assert require_final(
        from_rpc(rpc.call("kaia_getBlockByNumber", "0x2", False)), network.addresses
    ) == set(network.addresses)
    assert network.addresses == [address_of(node_key(running.directory))]


def test_up_status_down_up_destroy(command: Command) -> None:
    command.apart = True
    command.up("--validators", "1")
    pid = command.pid()
    assert pid is not None
    command.up()
    assert command.pid() == pid
    assert re.search(rf"block \d+, pid {pid}\n", command("status").stdout)
    assert command("status").returncode == 0
    known = command.network.block_hash(1)

    command.down()
    assert not psutil.pid_exists(pid)
    done = command("status")
    assert (done.returncode, done.stdout.rstrip().endswith("down")) == (1, True)
    command.down()

    height = int(re.findall(r"block (\d+)\.", command.up("--validators", "1"))[0])
    assert command.pid() != pid
    assert height > 1
    assert command.network.block_hash(1) == known

    pid = command.pid()
    assert pid is not None
    assert command("destroy").returncode == 0
    assert not psutil.pid_exists(pid)
    assert not command.directory.exists()
    assert refusal(command("status")) == (2, "network_missing")
    assert refusal(command("down")) == (2, "network_missing")
    assert refusal(command("destroy")) == (2, "network_missing")


def test_a_validators_key_is_its_owners_alone_and_stands_in_one_file(running: Command) -> None:
    """Made with the widest umask, so that the modes are the program's own."""
    home = running.directory / "validator-1"
    assert stat.S_IMODE((home / "nodekey").stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "kcn.ipc").stat().st_mode) == 0o600
    key = node_key(running.directory)
    files = [
        path for path in running.directory.rglob("*") if path.is_file() and path.name != "nodekey"
    ]
    assert len(files) > 10
    for path in files:
        data = path.read_bytes()
        assert key not in data, path
        assert key.hex().encode() not in data.lower(), path
    assert key.hex() not in " ".join(psutil.Process(running.pid()).cmdline())


def test_a_validator_listens_for_json_rpc_on_loopback_only_and_inherits_no_secret(
    running: Command,
) -> None:
    process = psutil.Process(running.pid())
    rpc_port = running.network.validators[0].rpc_port
    listening = {
        net_connection.laddr.ip
        for net_connection in process.net_connections("inet")
        if net_connection.status == psutil.CONN_LISTEN and net_connection.laddr.port == rpc_port
    }
    assert listening == {"127.0.0.1"}
    assert "a secret of ours" not in process.environ().values()


@pytest.mark.parametrize("port", ["rpc_port", "peer_port"])
def test_a_port_in_use_is_named_and_nothing_is_left_running(command: Command, port: str) -> None:
    network = Network.create(command.directory, ["operator"])
    number = getattr(network.validators[0], port)
    with socket.socket() as other:
        other.bind(("127.0.0.1", number))
        other.listen()
        done = command("up")
        assert refusal(done) == (2, "port_in_use")
        assert f"Port {number}, which the validator of operator needs, is in use." in done.stderr
        assert command.pid() is None
    command.up()


def test_an_engine_that_is_not_there_is_said_so(command: Command, tmp_path: Path) -> None:
    done = command("up", "--validators", "1", QIAOLIAN_TOOLS=str(tmp_path / "none"))
    assert refusal(done) == (4, "engine_missing")
    assert "chain.engine.build" in done.stderr
    done = command("up", QIAOLIAN_KCN=str(tmp_path / "kcn"))
    assert refusal(done) == (4, "engine_missing")
    assert "QIAOLIAN_KCN" in done.stderr
    command.up("--validators", "1")


def program(path: Path, text: str) -> str:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


def test_an_engine_that_cannot_set_up_or_ends_at_once_is_said_so_with_its_last_words(
    command: Command, tmp_path: Path
) -> None:
    broken = program(tmp_path / "broken", 'echo "Fatal: no such genesis" >&2; exit 1')
    done = command("up", "--validators", "1", QIAOLIAN_KCN=broken)
    assert refusal(done) == (4, "engine_failed")
    assert "Fatal: no such genesis" in done.stderr
    ends = program(
        tmp_path / "ends",
        'case "$*" in *" init "*) exit 0;; esac; echo "Fatal: bad flag" >&2; exit 1',
    )
    done = command("up", QIAOLIAN_KCN=ends)
    assert refusal(done) == (4, "validator_ended")
    assert "Fatal: bad flag" in done.stderr


def test_another_chain_in_a_validators_place_is_told(running: Command) -> None:
    """As when network.json is restored from another network's backup: no block is shown as this
    network's.
    """
    right = running.content
    for change in ({"chainId": right["chainId"] + 1}, {"genesisHash": "0x" + "11" * 32}):
        running.edit(**change)
        for action in ("status", "up"):
            assert refusal(running(action)) == (4, "chain_wrong_id")
        running.edit(**right)
    assert running("status").returncode == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"chainId":7,"genesisHash":"","validators":[]}',
        b'{"chainId":7,"genesisHash":"0xzz","validators":[{"organisation":"a","address":"0x","peerPort":1,"rpcPort":2}]}',
        b'{"chainId":7,"genesisHash":"","validators":[{"organisation":"a"}]}',
    ],
)
def test_a_damaged_description_is_said_so(tmp_path: Path, content: bytes) -> None:
    directory = tmp_path / "network"
    directory.mkdir()
    (directory / "network.json").write_bytes(content)
    with pytest.raises(BadInput) as caught:
        Network.load(directory)
    assert (caught.value.code, caught.value.exit_code) == ("network_damaged", 2)
    assert refusal(Command(directory)("up")) == (2, "network_damaged")
    assert (directory / "network.json").read_bytes() == content


def test_a_network_of_another_size_is_not_taken_for_the_one_asked_for(command: Command) -> None:
    Network.create(command.directory, ["operator"])
    assert refusal(command("up", "--validators", "4")) == (2, "network_other")
    assert refusal(command("up", "--organisations", "a,b", "--validators", "1")) == (
        2,
        "validator_count",
    )
    assert command.pid() is None


def test_a_pid_that_the_system_gave_to_another_program_is_never_signalled(command: Command) -> None:
    command.up("--validators", "1")
    command.down()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        started = psutil.Process(other.pid).create_time()
        (command.directory / "validator-1" / "pid").write_text(f"{other.pid} {started - 3600}\n")
        assert command.pid() is None
        command.down()
        assert other.poll() is None
        other.communicate(b"\n")


def test_a_validator_whose_starter_died_before_noting_it_is_found_again(command: Command) -> None:
    command.up("--validators", "1")
    pid = command.pid()
    assert pid is not None
    (command.directory / "validator-1" / "pid").unlink()
    command.up()
    assert command.pid() == pid
    (command.directory / "validator-1" / "pid").write_text("")
    command.down()
    assert not psutil.pid_exists(pid)


def test_two_starts_at_once_start_a_validator_once(command: Command) -> None:
    network = Network.create(command.directory, ["operator"])
    command_line = [str(QIAOLIAN), "network", "up", "--dir", str(command.directory)]
    both = [
        subprocess.Popen(command_line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for item in both:
        _, printed = item.communicate(timeout=150)
        assert item.returncode == 0, printed
    data = str(network.directory / "validator-1" / "data")
    running = [
        item.pid
        for item in psutil.process_iter(["cmdline"])
        if data in (item.info["cmdline"] or [])
    ]
    assert running == [command.pid()]


# --- Making a network -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("organisations", "code"),
    [
        ([], "validator_count"),
        (["a", "b"], "validator_count"),
        (["a", "b", "c"], "validator_count"),
        (["a", "b", "c", "a"], "organisation_name"),
        (["a", "b", "c", " "], "organisation_name"),
        ([""], "organisation_name"),
    ],
)
def test_organisations_that_make_no_sound_network_are_refused(
    tmp_path: Path, organisations: list[str], code: str
) -> None:
    with pytest.raises(BadInput) as caught:
        Network.create(tmp_path / "network", organisations)
    assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_a_network_is_made_whole_beside_its_place_and_never_over_another(tmp_path: Path) -> None:
    directory = tmp_path / "network"
    left = tmp_path / "network.partial" / "validator-1"
    left.mkdir(parents=True)
    (left / "nodekey").write_text("left by a crash")
    made = Network.create(directory, ["a", "b", "c", "d", "e"])
    assert [path.name for path in tmp_path.iterdir()] == ["network"]
    assert [validator.organisation for validator in Network.load(directory).validators] == [
        "a",
        "b",
        "c",
        "d",
        "e",
    ]
    assert made.addresses == [address_of(node_key(directory, index)) for index in range(1, 6)]
    assert (
        len(
            {
                port
                for validator in made.validators
                for port in (validator.peer_port, validator.rpc_port)
            }
        )
        == 10
    )
    for index in range(1, 6):
        assert stat.S_IMODE((directory / f"validator-{index}" / "nodekey").stat().st_mode) == 0o600
        peers = json.loads(
            (directory / f"validator-{index}" / "data" / "static-nodes.json").read_text()
        )
        assert len(peers) == 4
        assert all("@127.0.0.1:" in peer for peer in peers)
    before = (directory / "network.json").read_bytes()
    with pytest.raises(Conflict) as caught:
        Network.create(directory, ["a"])
    assert caught.value.code == "network_exists"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(Conflict) as caught:
        Network.create(tmp_path / "full", ["a"])
    assert caught.value.code == "directory_not_empty"
    assert (directory / "network.json").read_bytes() == before


def test_a_genesis_names_its_validators_gives_nobody_anything_and_leaves_no_vote_to_one() -> None:
    addresses = ["0x" + f"{index:02x}" * 20 for index in (9, 3, 5, 7)]
    content = genesis(chain_id=1907, validators=addresses, timestamp=1_800_000_000)
    extra = bytes.fromhex(content["extraData"][2:])
    assert rlp.decode(extra[32:]) == [
        [bytes.fromhex(address[2:]) for address in sorted(addresses)],
        bytes(65),
        [],
    ]
    assert extra == extra_data(list(reversed(addresses)))
    config = content["config"]
    assert config["chainId"] == 1907
    assert config["governance"]["governanceMode"] == "ballot"
    assert (
        config["unitPrice"],
        config["governance"]["kip71"]["upperboundbasefee"],
        config["governance"]["reward"]["mintingAmount"],
    ) == (0, 0, 0)
    assert content["alloc"] == {}


def test_chain_ids_are_drawn_anew_and_fit_every_reader() -> None:
    drawn = {new_chain_id() for _ in range(1_000)}
    assert len(drawn) > 990
    assert all(1_000_000 <= number < 2**31 for number in drawn)


# --- Building the engine --------------------------------------------------------------------------


def built(tools: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "-m", "chain.engine.build", "--to", str(tools)], **environment)


GO = 'case "$1" in version) echo "go version go1.26 linux/amd64";; *) '


def test_an_engine_once_built_is_used_again() -> None:
    path = build()
    before = path.stat().st_mtime_ns
    assert build() == path == kcn_path()
    assert path.stat().st_mtime_ns == before


def test_a_machine_without_go_or_compiler_is_told_what_to_install(tmp_path: Path) -> None:
    done = built(tmp_path / "tools", PATH=str(tmp_path), QIAOLIAN_GO="")
    assert refusal(done) == (4, "go_missing")
    assert "install Go" in done.stderr
    assert refusal(built(tmp_path / "tools", QIAOLIAN_GO=str(tmp_path / "go"))) == (4, "go_missing")
    go = program(tmp_path / "go", GO + "exit 1;; esac")
    for settings in (
        {"PATH": str(tmp_path)},
        {"PATH": str(tmp_path), "CC": ""},
        {"CC": "no-such-compiler -O2"},
        {"CC": '"'},
    ):
        done = built(tmp_path / "tools", QIAOLIAN_GO=go, **settings)
        assert refusal(done) == (4, "compiler_missing")
        assert "Install gcc" in done.stderr


@pytest.mark.parametrize(
    ("text", "code", "sentence"),
    [
        ("echo no such version >&2; exit 1", "go_unusable", "no such version"),
        ("exit 3", "go_unusable", "ended with 3"),
        (
            GO + 'echo "go: go.mod requires go >= 1.99 (running go 1.26)" >&2; exit 1;; esac',
            "go_unusable",
            "requires go >= 1.99",
        ),
        (
            GO + 'echo "write /tmp/x: no space left on device" >&2; exit 1;; esac',
            "disk_full",
            "Free about",
        ),
        (
            GO + 'echo "Get https://proxy: dial tcp: i/o timeout" >&2; exit 1;; esac',
            "engine_build_failed",
            "GOPROXY",
        ),
        (
            GO + 'echo "x.go:1: syntax error" >&2; exit 2;; esac',
            "engine_build_failed",
            "syntax error",
        ),
        (GO + "exit 1;; esac", "engine_build_failed", "build.log"),
    ],
)
def test_a_build_that_fails_says_why_and_leaves_no_program(
    tmp_path: Path, text: str, code: str, sentence: str
) -> None:
    done = built(tmp_path / "tools", QIAOLIAN_GO=program(tmp_path / "go", text), CC="sh")
    output, last = done.stderr.rsplit("error[", 1)
    assert refusal(subprocess.CompletedProcess([], done.returncode, "", "error[" + last)) == (
        4,
        code,
    )
    assert "Traceback" not in output
    assert sentence in last
    assert list((tmp_path / "tools").rglob("kcn/kcn")) == []


# --- Blocks that are final stay -------------------------------------------------------------------


def hashes(network: Network, index: int, top: int) -> list[str]:
    return [network.block_hash(height, index) for height in range(top + 1)]


def kill_all(network: Network) -> None:
    """kill -9 of every validator, as nearly at once as a loop can."""
    for pid in list(network.pids()):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: next(network.pids(), None) is None, "the validators did not end")


def test_a_lone_validator_killed_comes_back_with_the_same_blocks_and_goes_on(
    kcn_network: Network,
) -> None:
    for _ in range(2):
        top = kcn_network.height()
        assert top is not None
        kcn_network.wait_for_height(top + 2)
        known = hashes(kcn_network, 0, top + 2)
        kill_all(kcn_network)
        assert kcn_network.height() is None
        assert kcn_network.status()[0]["pid"] is None
        kcn_network.start()
        kcn_network.wait_for_height(top + 4)
        assert hashes(kcn_network, 0, top + 2) == known


def test_a_lone_validator_that_stands_still_is_shown_as_not_answering(kcn_network: Network) -> None:
    process = kcn_network.process(0)
    assert process is not None
    process.suspend()
    try:
        done = Command(kcn_network.directory)("status")
        assert f"does not answer, pid {process.pid}" in done.stdout
        with pytest.raises(Unavailable) as caught:
            kcn_network.wait_for_height(0, seconds=0.1)
        assert caught.value.code == "no_blocks"
    finally:
        process.resume()
    kcn_network.wait_for_height((kcn_network.height() or 0) + 1)


def test_a_validator_that_ends_while_it_is_waited_for_is_named(kcn_network: Network) -> None:
    process = kcn_network.process(0)
    assert process is not None
    lines: list[str] = []

    def say(text: str) -> None:
        lines.append(text)
        process.kill()

    with pytest.raises(Unavailable) as caught:
        kcn_network.wait_for_height(2**40, say=say)
    assert len(lines) == 1
    assert lines[0].startswith(f"waiting for block {2**40}")
    assert caught.value.code == "validator_ended"
    assert "operator" in caught.value.sentence
    kcn_network.start()


def test_four_validators_seal_each_block_by_at_least_three(kcn_network4: Network) -> None:
    kcn_network4.wait_for_height(3)
    for index, url in enumerate(kcn_network4.rpc_urls):
        block = Rpc([url]).call("kaia_getBlockByNumber", "0x3", False)
        assert len(require_final(from_rpc(block), kcn_network4.addresses)) >= 3
        assert kcn_network4.block_hash(3, index) == kcn_network4.block_hash(3)


def test_four_validators_killed_at_once_come_back_with_the_same_blocks_and_go_on(
    kcn_network4: Network,
) -> None:
    kcn_network4.wait_for_height(8)
    top = min(kcn_network4.height(index) or 0 for index in range(4))
    known = hashes(kcn_network4, 0, top)
    kill_all(kcn_network4)
    assert [item["pid"] for item in kcn_network4.status()] == [None] * 4
    kcn_network4.start()
    kcn_network4.wait_for_height(top + 3)
    for index in range(4):
        assert hashes(kcn_network4, index, top) == known


def test_a_validator_that_was_away_lags_and_then_has_the_same_blocks(kcn_network4: Network) -> None:
    before = kcn_network4.height(3)
    assert before is not None
    kcn_network4.kill(3)
    kcn_network4.wait_for_height(before + 3)
    assert [item["height"] is None for item in kcn_network4.status()] == [False, False, False, True]
    with pytest.raises(QiaolianError) as caught:
        kcn_network4.block_hash(before, 3)
    assert caught.value.code == "chain_unreachable"
    kcn_network4.start_one(3)
    kcn_network4.wait_for_height(before + 3, indices=range(4))
    for height in range(before, before + 4):
        assert len({kcn_network4.block_hash(height, index) for index in range(4)}) == 1


def test_a_validator_whose_data_is_lost_copies_the_chain_from_the_others(
    kcn_network4: Network,
) -> None:
    kcn_network4.wait_for_height(3)
    kcn_network4.kill(3)
    shutil.rmtree(kcn_network4.directory / "validator-4" / "data")
    kcn_network4.start_one(3)
    top = kcn_network4.height()
    assert top is not None
    kcn_network4.wait_for_height(top + 1, indices=range(4))
    assert hashes(kcn_network4, 3, top) == hashes(kcn_network4, 0, top)


def test_validators_that_lost_the_chain_do_not_begin_another_in_its_place(
    kcn_network4: Network,
) -> None:
    kcn_network4.wait_for_height(3)
    known = hashes(kcn_network4, 0, 3)
    kill_all(kcn_network4)
    for index in range(3):
        home = kcn_network4.directory / f"validator-{index + 1}"
        (home / "data").rename(home / "kept")
    with pytest.raises(Unavailable) as caught:
        kcn_network4.start()
    assert caught.value.code == "chain_data_missing"
    assert next(kcn_network4.pids(), None) is None
    for index in range(3):
        home = kcn_network4.directory / f"validator-{index + 1}"
        (home / "kept").rename(home / "data")
    kcn_network4.start()
    assert hashes(kcn_network4, 0, 3) == known


def test_a_validator_whose_key_is_lost_too_is_named_with_the_way_on(tmp_path: Path) -> None:
    network = Network.create(tmp_path / "network", ["a", "b", "c", "d"])
    shutil.rmtree(tmp_path / "network" / "validator-2")
    with pytest.raises(Unavailable, match="validator of b") as caught:
        network.start()
    assert caught.value.code == "validator_key_missing"
    assert "vote it out" in caught.value.hint


# --- Votes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [
        "governance_vote",
        "istanbul_propose",
        "istanbul_discard",
        "admin_addPeer",
        "debug_setHead",
        "txpool_content",
        "personal_newAccount",
    ],
)
def test_whoever_reaches_the_port_neither_votes_nor_administers(
    kcn_network: Network, method: str
) -> None:
    with pytest.raises(RpcRefused, match="does not exist"):
        Rpc(kcn_network.rpc_urls).call(method)


def test_votes_are_for_the_owner_of_the_validators_directory_alone(kcn_network: Network) -> None:
    port = Rpc(kcn_network.rpc_urls).call("rpc_modules")
    assert set(port) == {"eth", "kaia", "net", "rpc"}
    home = kcn_network.directory / "validator-1"
    assert stat.S_IMODE((home / SOCKET).stat().st_mode) == 0o600
    assert call(home, "governance_nodeAddress") == kcn_network.addresses[0]
    with pytest.raises(Unavailable) as refused:
        call(home, "governance_vote", "governance.addvalidator", "no address")
    assert refused.value.code == "validator_refused"


A, B, C, D, E = ("0x" + letter * 40 for letter in "abcde")


@pytest.mark.parametrize(
    ("address", "admit", "council", "code"),
    [
        (B, True, [A, B, C, D], "validator_in_council"),
        (E, False, [A, B, C, D], "validator_not_in_council"),
        (A, False, [A, B, C, D, E], "vote_for_itself"),
        (B, False, [A, B, C, D], "too_few_validators"),
        (E, True, [B, C, D], "not_a_validator"),
        (B, False, [B, C, D, E], "not_a_validator"),
    ],
)
def test_a_vote_that_changes_nothing_or_leaves_too_few_is_refused(
    address: str, admit: bool, council: list[str], code: str
) -> None:
    with pytest.raises(Conflict) as refused:
        require_vote(address, admit=admit, council=council, own=A)
    assert refused.value.code == code
    require_vote(E, admit=True, council=[A, B, C, D], own=A)
    require_vote(E, admit=False, council=[A, B, C, D, E], own=A)


@pytest.mark.parametrize("top", [0, 1, 2, 63, 64, 100])
def test_the_first_block_of_the_present_council_is_found(top: int) -> None:
    for changed in {0, 1, top // 2, top - 1, top} & set(range(top + 1)):

        def council(height: int, changed: int = changed) -> list[str]:
            assert 0 <= height <= top
            return [A] if height < changed else [A, B]

        assert first_of_council(council, top) == changed


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--admit", A),
        ("--organisation", "operator"),
        ("--admit", A, "--organisation", "x", "--home", "y"),
    ],
)
def test_a_vote_without_voter_or_choice_is_refused(
    command: Command, options: tuple[str, ...]
) -> None:
    assert refusal(command("vote", *options)) == (2, "vote_incomplete")


def test_a_new_validator_is_voted_in_and_another_out_and_each_block_has_the_seals_of_its_council(
    tmp_path: Path,
) -> None:
    network = Network.create(tmp_path / "network", ["a", "b", "c", "d"])
    vote = Command(network.directory)
    first, gone = network.addresses, network.addresses[3]
    try:
        network.start()
        assert refusal(vote("vote", "--organisation", "a", "--remove", gone)) == (
            2,
            "too_few_validators",
        )
        added = network.add("e")
        assert Network.load(network.directory).addresses[-1] == added.address
        for organisation in "ab":
            assert (
                vote("vote", "--organisation", organisation, "--admit", added.address).returncode
                == 0
            )
        assert (
            vote(
                "vote", "--home", str(network.directory / "validator-3"), "--admit", added.address
            ).returncode
            == 0
        )
        wait_until(
            lambda: added.address in (network.council() or ()), "the new validator was not voted in"
        )
        larger_from = network.council_since()
        wait_until(
            lambda: added.address in network.home_of("e").council(),
            "the new validator did not copy the chain",
        )
        for organisation in "abce":
            network.home_of(organisation).vote(gone, admit=False)
        wait_until(
            lambda: gone not in (network.council() or [gone]), "the old validator was not voted out"
        )
        smaller_from = network.council_since()
        assert larger_from is not None
        assert smaller_from is not None
        network.wait_for_height(smaller_from + 2, indices=(0, 1, 2, 4))
        assert f"{gone}  {network.validators[3].rpc_url}" in vote("status").stdout
        assert f"seal since block {smaller_from}" in vote("status").stdout
        changes = [
            {"from_height": larger_from, "validators": [*first, added.address]},
            {"from_height": smaller_from, "validators": [*first[:3], added.address]},
        ]
        configured = Chain.model_validate(
            {"rpc": network.rpc_urls, "finality": first, "validator_changes": changes}
        )
        rule = KaiaIbft(configured.validators_at)
        rpc = Rpc(network.rpc_urls)
        for height in range(1, smaller_from + 3):
            rule.check(rpc.call(*rule.request(height)[:1], *rule.request(height)[1]))
    finally:
        network.destroy()
