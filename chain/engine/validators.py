"""One validator on this machine: its directory, its ports and its process.

The directory holds ``nodekey`` (0600: whoever has it seals blocks in the organisation's name),
``data`` (the chain), ``kcn.log`` and ``pid``. The process outlives the command that started it. A
pid counts only together with the process' start time, so a number that the system has given to
another program since is never signalled.

Run flags: every validator keeps its whole state (``--gcmode archive``), because with pruning a kill
-9 of all of them lost blocks that had been final. RPC listens on loopback only, and neither votes
nor administers (``PORT_NAMESPACES``). The peer port of this version of ``kcn`` listens on every
interface and only refuses peers from elsewhere (``--netrestrict``); where that matters a firewall
rule has to close it.
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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coincurve
import psutil

from chain.core.errors import Conflict, Unavailable
from chain.core.loopback import LOOPBACK
from chain.engine.build import kcn_path
from chain.engine.console import SOCKET, call
from chain.engine.files import disk_full, write_atomically

PORT_NAMESPACES = "eth,net,kaia"
"""What the RPC port offers: reading, and sending signed transactions. Whoever reaches the port
needs no credential, so what votes (``governance``, ``istanbul``) or shows and changes the program
(``admin``, ``debug``, ``txpool``) is on the admin socket alone (``chain.engine.console``), which
only its owner may open."""

INIT_SECONDS = 60
STOP_SECONDS = 15
MIN_VALIDATORS = 4
"""The fewest validators of which one may fail."""
ADD_VALIDATOR = "governance.addvalidator"
REMOVE_VALIDATOR = "governance.removevalidator"
PORT_SECONDS = 5.0

_INHERITED_VARIABLES = ("HOME", "LANG", "PATH", "TMPDIR", "TZ")
"""What a validator inherits: no passphrase of ours, and none of the variables by which Kaia's flags
can be set.
"""

_MEMORY = {"GOMEMLIMIT": "350MiB", "GOGC": "60", "GOMAXPROCS": "2"}


@dataclass(frozen=True)
class Validator:
    """Whose it is, the address its seals recover to, and where it listens."""

    organisation: str
    address: str
    peer_port: int
    rpc_port: int

    @property
    def rpc_url(self) -> str:
        """Its JSON-RPC address, loopback only."""
        return f"http://{LOOPBACK}:{self.rpc_port}"

    def to_json(self) -> dict[str, Any]:
        """As ``network.json`` lists it; ``rpcUrl`` is there for people and scripts."""
        return {
            "organisation": self.organisation,
            "address": self.address,
            "peerPort": self.peer_port,
            "rpcPort": self.rpc_port,
            "rpcUrl": self.rpc_url,
        }

    @classmethod
    def from_json(cls, item: dict[str, Any]) -> Validator:
        """Read what ``to_json`` wrote."""
        return cls(
            str(item["organisation"]),
            str(item["address"]),
            int(item["peerPort"]),
            int(item["rpcPort"]),
        )


def require_vote(address: str, *, admit: bool, council: Sequence[str], own: str) -> None:
    """Refuse a vote that would change nothing, or leave a network that bears no failure.

    Raises:
        Conflict: as ``ValidatorHome.vote``.
    """
    if own not in council:
        raise Conflict(
            "not_a_validator",
            f"The validator {own} is not in the council and has no vote.",
            hint="The others vote it in first.",
        )
    if admit:
        if address in council:
            raise Conflict(
                "validator_in_council",
                f"{address} is a validator already.",
                hint="See: qiaolian network status",
            )
        return
    if address not in council:
        raise Conflict(
            "validator_not_in_council",
            f"{address} is no validator.",
            hint="See: qiaolian network status",
        )
    if address == own:
        raise Conflict(
            "vote_for_itself", "A validator cannot vote itself out.", hint="The others vote it out."
        )
    if len(council) <= MIN_VALIDATORS:
        raise Conflict(
            "too_few_validators",
            f"Of {len(council)} validators none can be voted out: fewer "
            f"than {MIN_VALIDATORS} bear no failure.",
            hint="Vote a new one in first: qiaolian network add, then "
            "qiaolian network vote --admit ADDRESS",
        )


def node_id(url: str) -> str:
    """The node id in a peer's address."""
    return url.removeprefix("kni://").partition("@")[0]


def peer_url(private_key: bytes, port: int) -> str:
    """The address by which other validators dial one (Kaia's ``kni`` form)."""
    public = coincurve.PrivateKey(private_key).public_key.format(compressed=False)[1:].hex()
    return f"kni://{public}@{LOOPBACK}:{port}?discport=0&ntype=cn"


class ValidatorHome:
    """The directory of one validator, and the process that works in it."""

    def __init__(
        self, directory: Path, validator: Validator, *, chain_id: int, genesis: Path
    ) -> None:
        self.directory = directory
        self.validator = validator
        self._chain_id = chain_id
        self._genesis = genesis
        self._child: subprocess.Popen[bytes] | None = None

    @classmethod
    def of_directory(cls, directory: Path) -> ValidatorHome:
        """A validator's directory on a machine of its own, to reach its admin socket: it starts no
        process there.
        """
        return cls(
            directory.resolve(),
            Validator(directory.name, "", 0, 0),
            chain_id=0,
            genesis=directory / "genesis.json",
        )

    @property
    def log(self) -> Path:
        """The output of the program."""
        return self.directory / "kcn.log"

    @property
    def pid_file(self) -> Path:
        """Holds ``PID START_TIME``."""
        return self.directory / "pid"

    @property
    def data(self) -> Path:
        """The chain's data."""
        return self.directory / "data"

    @property
    def initialised(self) -> bool:
        """Whether the genesis block was written."""
        return self._chain_mark.exists()

    @property
    def peers_file(self) -> Path:
        """The addresses the program dials when it starts."""
        return self.data / "static-nodes.json"

    @property
    def url(self) -> str:
        """The address by which other validators dial this one.

        Raises:
            Unavailable: ``validator_key_missing``.
        """
        try:
            key = bytes.fromhex((self.directory / "nodekey").read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            raise Unavailable(
                "validator_key_missing",
                f"The key of the validator of {self.validator.organisation} is missing or damaged.",
                hint=f"Put {self.directory / 'nodekey'} back from its "
                "backup; without it this validator cannot "
                "return: let the others vote it out and a new one in (docs/operations.md).",
            ) from error
        return peer_url(key, self.validator.peer_port)

    def write_peers(self, urls: Sequence[str]) -> None:
        """Rewrite the peers file, with the data directory if that is gone."""
        self.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(self.peers_file, json.dumps(list(urls)))

    @property
    def _chain_mark(self) -> Path:
        return self.data / "prepared"

    def process(self) -> psutil.Process | None:
        """The running validator, if it is the process we started."""
        if self._child is not None:
            self._child.poll()
        try:
            pid, started = self.pid_file.read_text(encoding="utf-8").split()
            process = psutil.Process(int(pid))
            same = (
                abs(process.create_time() - float(started)) < 1
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return None
        return process if same else None

    def initialise(self) -> None:
        """Write the genesis block unless that was done.

        Begun and not finished counts as not done.
        """
        if self.initialised:
            return
        for name in ("klay", "kaia"):
            shutil.rmtree(self.data / name, ignore_errors=True)
        command = [str(kcn_path()), "--datadir", str(self.data), "init", str(self._genesis)]
        try:
            result = subprocess.run(
                command, capture_output=True, text=True, timeout=INIT_SECONDS, env=_environment()
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _failed(str(error)) from error
        if result.returncode != 0:
            output = (result.stdout + result.stderr).strip()
            if "no space left" in output:
                raise disk_full("setting up a validator")
            raise _failed(output.splitlines()[-1] if output else f"exit code {result.returncode}")
        self._chain_mark.touch()

    def start(self) -> None:
        """Start the program unless it runs; it does not wait for blocks.

        Raises:
            Conflict: ``port_in_use``, naming the port.
            Unavailable: ``engine_missing``, ``engine_failed`` or ``disk_full``.
        """
        if self._find_process() is not None:
            return
        program = kcn_path()
        for port in (self.validator.peer_port, self.validator.rpc_port):
            _require_free(port, self.validator.organisation)
        self.initialise()
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self._command(program),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
                env=_environment(),
            )
        self._record_process(psutil.Process(self._child.pid))

    @property
    def peer_urls(self) -> list[str]:
        """The addresses of all other validators, in the network's order."""
        return [str(url) for url in json.loads(self.peers_file.read_bytes())]

    def peers(self) -> set[str]:
        """The node ids it is connected to."""
        return {str(item["id"]) for item in call(self.directory, "admin_peers")}

    def council(self, height: int | None = None) -> list[str]:
        """The addresses that seal the block at ``height`` (the latest one, if None), sorted."""
        at = "latest" if height is None else hex(height)
        return sorted(
            str(address).lower() for address in call(self.directory, "istanbul_getValidators", at)
        )

    def vote(self, address: str, *, admit: bool) -> None:
        """Have it vote a validator in or out, in the next block it proposes; more than half of all
        must.

        Raises:
            Conflict: ``validator_in_council``, ``validator_not_in_council``,
                ``too_few_validators``, ``vote_for_itself``.
            Unavailable: ``validator_silent``, ``validator_refused``.
        """
        own = str(call(self.directory, "governance_nodeAddress")).lower()
        require_vote(address, admit=admit, council=self.council(), own=own)
        call(
            self.directory, "governance_vote", ADD_VALIDATOR if admit else REMOVE_VALIDATOR, address
        )

    def dial(self, url: str) -> None:
        """Have it dial a peer now; by itself it waits 30 s after a dial in vain."""
        call(self.directory, "admin_removePeer", url)
        call(self.directory, "admin_addPeer", url)

    def terminate(self) -> psutil.Process | None:
        """Send SIGTERM; the process to wait for, if there is one."""
        process = self._find_process()
        if process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
        return process

    def kill(self) -> None:
        """End it at once with SIGKILL, as a power cut would."""
        process = self.process()
        if process is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
            psutil.wait_procs([process], timeout=STOP_SECONDS)

    def last_log_line(self) -> str:
        """The last line of the log, for an error's hint."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip()[:300] if lines else ""

    def _find_process(self) -> psutil.Process | None:
        """The running validator, also when whoever started it died before noting its pid."""
        process = self.process()
        if process is not None:
            return process
        for other in psutil.process_iter(["cmdline"]):
            command = other.info["cmdline"] or []
            if "--datadir" in command and command[command.index("--datadir") + 1 :][:1] == [
                str(self.data)
            ]:
                self._record_process(other)
                return self.process()
        return None

    def _record_process(self, process: psutil.Process) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            write_atomically(self.pid_file, f"{process.pid} {process.create_time()}\n")

    def _command(self, program: Path) -> list[str]:
        options = {
            "datadir": self.data,
            "nodekey": self.directory / "nodekey",
            "networkid": self._chain_id,
            "port": self.validator.peer_port,
            "netrestrict": "127.0.0.0/8",
            "rpcaddr": LOOPBACK,
            "rpcport": self.validator.rpc_port,
            "rpcapi": PORT_NAMESPACES,
            "srvtype": "http",
            "ipcpath": f"./{SOCKET}",
            "gcmode": "archive",
            "verbosity": 2,
            "db.leveldb.cache-size": 32,
            "state.cache-size": 64,
            "txpool.exec-slots.account": 20_000,
            "txpool.exec-slots.all": 60_000,
            "txpool.nonexec-slots.account": 20_000,
            "txpool.nonexec-slots.all": 60_000,
        }
        pairs = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        return [str(program), *pairs, "--nodiscover", "--ntp.disable", "--rpc"]


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ} | _MEMORY


def _require_free(port: int, organisation: str) -> None:
    """Refuse a port somebody listens on; a validator that was just killed may hold its own for some
    moments yet.
    """
    deadline = time.monotonic() + PORT_SECONDS
    while not _is_free(port):
        if time.monotonic() > deadline:
            raise Conflict(
                "port_in_use",
                f"Port {port}, which the validator of {organisation} needs, is in use.",
                hint="End the program that uses it, or destroy this network and make a new one.",
                port=port,
            )
        time.sleep(0.05)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the validator itself binds: a port whose last connections are only waiting to expire is
        # free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _failed(reason: str) -> Unavailable:
    return Unavailable(
        "engine_failed",
        f"The chain engine could not set up a validator: {reason.rstrip('.')}.",
        hint="See the log.",
    )
