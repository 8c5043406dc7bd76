"""A network of validators on this machine: one directory, one process each.

``network.json`` in the directory says what the network is (chain id, genesis hash, validators with their organisations and ports); each
validator's own directory holds its key, data, log and pid. Processes outlive the command that started them. A pid counts only together with
the process' start time, so a number used again by another program is never signalled.

Every validator keeps its whole state (archive mode): with pruning, a kill -9 of all of them lost blocks that had been final.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import coincurve
import httpx
import psutil

from chain.crypto import address_of, new_private_key
from chain.engine.build import kcn_path
from chain.engine.genesis import genesis, new_chain_id
from chain.errors import BadInput, Conflict, NotFound, Unavailable

Progress = Callable[[str], None]

LOOPBACK = "127.0.0.1"
START_SECONDS = 120
STOP_SECONDS = 15
MEMORY_LIMIT = "320MiB"


@dataclass(frozen=True)
class Validator:
    """One validator: its organisation, its address in the seals, and where it listens."""

    organisation: str
    address: str
    peer_port: int
    rpc_port: int

    @property
    def rpc_url(self) -> str:
        """Its JSON-RPC address, loopback only."""
        return f"http://{LOOPBACK}:{self.rpc_port}"


def _silent(_text: str) -> None:
    return None


class Network:
    """The validators of one directory."""

    def __init__(self, directory: Path, description: dict[str, Any]) -> None:
        self.directory = directory
        self.chain_id = int(description["chainId"])
        self.genesis_hash = str(description["genesisHash"])
        self.validators = [Validator(**each) for each in description["validators"]]

    @classmethod
    def create(cls, directory: Path, organisations: list[str]) -> Network:
        """Make keys and genesis for one validator of each organisation: 1, or at least 4 for Byzantine fault tolerance.

        Raises:
            BadInput: ``validator_count`` for 2 or 3 validators, which tolerate no fault and only cost.
            Conflict: ``network_exists``.
        """
        directory = directory.resolve()
        if len(organisations) != 1 and len(organisations) < 4:
            raise BadInput(
                "validator_count", "A network has 1 validator or at least 4.", hint="Use --validators 1 or 4."
            )
        if (directory / "network.json").exists():
            raise Conflict(
                "network_exists", "There is a network in this directory.", hint="Use it, or destroy it first."
            )
        keys = [new_private_key() for _ in organisations]
        ports = _free_ports(2 * len(organisations))
        validators = [
            Validator(organisation, address_of(key), ports[2 * place], ports[2 * place + 1])
            for place, (organisation, key) in enumerate(zip(organisations, keys, strict=True))
        ]
        chain_id = new_chain_id()
        content = genesis(chain_id=chain_id, validators=[each.address for each in validators])
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "genesis.json").write_text(json.dumps(content, indent=1))
        network = cls(
            directory, {"chainId": chain_id, "genesisHash": "", "validators": [asdict(v) for v in validators]}
        )
        peers = [_peer_url(key, each.peer_port) for key, each in zip(keys, validators, strict=True)]
        for place, key in enumerate(keys):
            network._lay_out(place, key, peers)
        network._save()
        return network

    @classmethod
    def load(cls, directory: Path) -> Network:
        """The network of a directory; ``network_missing`` when there is none."""
        path = directory.resolve() / "network.json"
        if not path.exists():
            raise NotFound("network_missing", "There is no network in this directory.", hint="Run: qiaolian network up")
        return cls(directory.resolve(), json.loads(path.read_text()))

    @property
    def rpc_urls(self) -> list[str]:
        """Every validator's JSON-RPC address."""
        return [each.rpc_url for each in self.validators]

    @property
    def addresses(self) -> list[str]:
        """The validator set: the addresses whose seals count."""
        return [each.address for each in self.validators]

    def start(self, *, say: Progress = _silent) -> None:
        """Start what is down and wait until every validator has a block after genesis."""
        for place in range(len(self.validators)):
            self.start_one(place)
        self.wait_for_height(1, say=say)
        if not self.genesis_hash:
            self.genesis_hash = self._rpc(0, "eth_getBlockByNumber", ["0x0", False])["hash"]
            self._save()

    def start_one(self, place: int) -> None:
        """Start one validator unless it runs."""
        if self.process(place) is not None:
            return
        validator = self.validators[place]
        for port in (validator.peer_port, validator.rpc_port):
            _require_free(port)
        directory = self._home(place)
        if not (directory / "data" / "klay").exists():
            _checked(
                [str(kcn_path()), "--datadir", str(directory / "data"), "init", str(self.directory / "genesis.json")]
            )
        with (directory / "kcn.log").open("ab") as log:
            process = subprocess.Popen(
                self._command(place),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
                start_new_session=True,
                env={**os.environ, "GOMEMLIMIT": MEMORY_LIMIT, "GOGC": "60", "GOMAXPROCS": "2"},
            )
        started = psutil.Process(process.pid).create_time()
        (directory / "pid").write_text(f"{process.pid} {started}")

    def stop(self) -> None:
        """Ask every validator to end, then make it."""
        running = [each for each in map(self.process, range(len(self.validators))) if each is not None]
        for process in running:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(running, timeout=STOP_SECONDS)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=STOP_SECONDS)

    def kill(self, place: int) -> None:
        """kill -9 one validator, as a power cut would."""
        process = self.process(place)
        if process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
            psutil.wait_procs([process], timeout=STOP_SECONDS)

    def destroy(self) -> None:
        """Stop everything and remove the directory with all its data."""
        self.stop()
        shutil.rmtree(self.directory)

    def process(self, place: int) -> psutil.Process | None:
        """The validator's process if it is the one we started."""
        path = self._home(place) / "pid"
        if not path.exists():
            return None
        pid, _, started = path.read_text().partition(" ")
        try:
            process = psutil.Process(int(pid))
            same = abs(process.create_time() - float(started)) < 1 and process.status() != psutil.STATUS_ZOMBIE
            return process if same else None
        except (psutil.NoSuchProcess, ValueError):
            return None

    def pids(self) -> Iterator[int]:
        """The pids of the running validators."""
        for place in range(len(self.validators)):
            process = self.process(place)
            if process is not None:
                yield process.pid

    def height(self, place: int = 0) -> int | None:
        """The validator's latest block, or None when it does not answer."""
        try:
            return int(self._rpc(place, "eth_blockNumber", []), 16)
        except (httpx.HTTPError, KeyError, ValueError):
            return None

    def block_hash(self, height: int, place: int = 0) -> str:
        """The hash of a block as one validator has it."""
        return str(self._rpc(place, "eth_getBlockByNumber", [hex(height), False])["hash"])

    def wait_for_height(self, height: int, *, seconds: float = START_SECONDS, say: Progress = _silent) -> None:
        """Wait until every running validator has that block."""
        deadline, told = time.monotonic() + seconds, time.monotonic()
        places = [place for place in range(len(self.validators)) if self.process(place) is not None]
        while True:
            heights = [self.height(place) for place in places]
            if heights and all(each is not None and each >= height for each in heights):
                return
            dead = [place for place in places if self.process(place) is None]
            if dead:
                name = self.validators[dead[0]].organisation
                raise Unavailable(
                    "validator_ended", f"The validator of {name} ended.", hint=f"See {self._home(dead[0]) / 'kcn.log'}."
                )
            if time.monotonic() > deadline:
                raise Unavailable(
                    "no_blocks", f"The validators made no block in {seconds:.0f} s.", hint="See the kcn.log files."
                )
            if time.monotonic() - told > 5:
                told = time.monotonic()
                say(f"waiting for blocks: {heights}")
            time.sleep(0.1)

    def status(self) -> list[dict[str, Any]]:
        """For each validator: organisation, address, pid, height, RPC address."""
        return [
            {
                "organisation": each.organisation,
                "address": each.address,
                "pid": getattr(self.process(place), "pid", None),
                "height": self.height(place) if self.process(place) is not None else None,
                "rpc": each.rpc_url,
            }
            for place, each in enumerate(self.validators)
        ]

    def _home(self, place: int) -> Path:
        return self.directory / f"validator-{place + 1}"

    def _lay_out(self, place: int, key: bytes, peers: list[str]) -> None:
        home = self._home(place)
        (home / "data").mkdir(parents=True)
        descriptor = os.open(home / "nodekey", os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(key.hex())
        (home / "data" / "static-nodes.json").write_text(json.dumps([url for n, url in enumerate(peers) if n != place]))

    def _command(self, place: int) -> list[str]:
        validator, home = self.validators[place], self._home(place)
        flags = {
            "datadir": home / "data",
            "nodekey": home / "nodekey",
            "networkid": self.chain_id,
            "port": validator.peer_port,
            "rpcaddr": LOOPBACK,
            "rpcport": validator.rpc_port,
            "rpcapi": "eth,net,web3,txpool,istanbul,kaia,governance",
            "srvtype": "http",
            "gcmode": "archive",
            "netrestrict": "127.0.0.0/8",
            "verbosity": 2,
            "db.leveldb.cache-size": 32,
            "state.cache-size": 64,
            "txpool.exec-slots.account": 20_000,
            "txpool.exec-slots.all": 60_000,
            "txpool.nonexec-slots.account": 20_000,
            "txpool.nonexec-slots.all": 60_000,
        }
        pairs = [text for name, value in flags.items() for text in (f"--{name}", str(value))]
        return [str(kcn_path()), *pairs, "--nodiscover", "--ntp.disable", "--rpc", "--ipcdisable"]

    def _save(self) -> None:
        description = {
            "engine": "kaia kcn v1.0.3",
            "chainId": self.chain_id,
            "genesisHash": self.genesis_hash,
            "validators": [asdict(each) for each in self.validators],
        }
        partial = self.directory / "network.json.partial"
        partial.write_text(json.dumps(description, indent=1) + "\n")
        partial.replace(self.directory / "network.json")

    def _rpc(self, place: int, method: str, params: list[Any]) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = httpx.post(self.validators[place].rpc_url, json=body, timeout=3, trust_env=False)
        return answer.json()["result"]


def _peer_url(key: bytes, port: int) -> str:
    public = coincurve.PrivateKey(key).public_key.format(compressed=False)[1:].hex()
    return f"kni://{public}@{LOOPBACK}:{port}?discport=0&ntype=cn"


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on now; held open together so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise Conflict(
                "port_in_use", f"Port {port} is in use.", hint="End what uses it, or make a new network."
            ) from error


def _checked(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        text = (done.stderr + done.stdout).strip().splitlines()
        full = any("no space left" in line for line in text)
        code, hint = ("disk_full", "Free some space.") if full else ("engine_failed", text[-1] if text else "")
        raise Unavailable(code, "The chain engine could not set up a validator.", hint=hint)
