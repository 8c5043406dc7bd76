"""A network of validators on this machine, in one directory.

``network.json`` holds the chain (chain id, genesis hash, engine) and its validators with their
organisations, addresses and ports; ``validator-1`` and so on are their homes
(``chain.engine.validators``). The directory can be moved while the network is down. It is created
under a temporary name and then renamed, so a network exists completely or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from chain.core.crypto import address_of, new_private_key
from chain.core.errors import BadInput, Conflict, NotFound, QiaolianError, Unavailable
from chain.core.loopback import free_ports
from chain.engine.build import engine_version
from chain.engine.files import disk_full_translated, exclusive_lock, write_atomically
from chain.engine.genesis import genesis, new_chain_id
from chain.engine.validators import STOP_SECONDS, Validator, ValidatorHome, node_id, peer_url
from chain.ethereum.headers import seals_needed
from chain.ethereum.rpc import Rpc

Progress = Callable[[str], None]

START_SECONDS = 120.0
PROGRESS_SECONDS = 5.0
ANSWER_SECONDS = 60.0
CONNECT_SECONDS = 20.0
REDIAL_SECONDS = 1.0


def _silent(_text: str) -> None:
    return None


class Network:
    """The validators of one directory. They are numbered from 0, in the order in which
    the organisations were given.
    """

    def __init__(
        self, directory: Path, *, chain_id: int, genesis_hash: str, validators: Sequence[Validator]
    ) -> None:
        self.directory = directory
        self.chain_id = chain_id
        self.genesis_hash = genesis_hash
        """Empty until the network first ran."""
        self.validators = list(validators)
        self._homes = [
            ValidatorHome(
                directory / f"validator-{index + 1}",
                validator,
                chain_id=chain_id,
                genesis=directory / "genesis.json",
            )
            for index, validator in enumerate(self.validators)
        ]
        self._rpcs: dict[int, Rpc] = {}

    @classmethod
    def create(cls, directory: Path, organisations: Sequence[str]) -> Network:
        """Make keys, ports and genesis for one validator of each organisation, and start nothing.

        Raises:
            BadInput: ``validator_count`` for 2 or 3, which tolerate no fault and only cost;
                ``organisation_name``.
            Conflict: ``network_exists``; ``directory_not_empty``.
            Unavailable: ``disk_full``; ``ports_missing``.
        """
        directory = directory.resolve()
        _require_organisations(organisations)
        _require_disk_space(directory)
        partial = directory.with_name(directory.name + ".partial")
        keys = [new_private_key() for _ in organisations]
        ports = free_ports(2 * len(organisations))
        validators = [
            Validator(organisation, address_of(key), ports[2 * index], ports[2 * index + 1])
            for index, (organisation, key) in enumerate(zip(organisations, keys, strict=True))
        ]
        with disk_full_translated("making a network"):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            chain_id = new_chain_id()
            content = genesis(
                chain_id=chain_id, validators=[validator.address for validator in validators]
            )
            write_atomically(partial / "genesis.json", json.dumps(content, indent=1) + "\n")
            urls = [
                peer_url(key, validator.peer_port)
                for key, validator in zip(keys, validators, strict=True)
            ]
            for index, key in enumerate(keys):
                _create_home(
                    partial / f"validator-{index + 1}",
                    key,
                    [url for n, url in enumerate(urls) if n != index],
                )
            cls(partial, chain_id=chain_id, genesis_hash="", validators=validators)._save()
            partial.rename(directory)
        return cls(directory, chain_id=chain_id, genesis_hash="", validators=validators)

    @classmethod
    def load(cls, directory: Path) -> Network:
        """The network of a directory.

        Raises:
            NotFound: ``network_missing``.
            BadInput: ``network_damaged`` when ``network.json`` is not what ``create`` wrote.
        """
        directory = directory.resolve()
        path = directory / "network.json"
        if not path.exists():
            raise NotFound(
                "network_missing",
                f"There is no network in {directory}.",
                hint="Run: qiaolian network up",
            )
        try:
            content = json.loads(path.read_bytes())
            validators = [Validator.from_json(validator) for validator in content["validators"]]
            chain_id, genesis_hash = int(content["chainId"]), str(content["genesisHash"])
            if not validators or not re.fullmatch(r"(0x[0-9a-f]{64})?", genesis_hash):
                raise ValueError("values")
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(
                "network_damaged",
                f"{path} is damaged.",
                hint="Restore it, or remove the directory and start again.",
            ) from error
        return cls(directory, chain_id=chain_id, genesis_hash=genesis_hash, validators=validators)

    @property
    def rpc_urls(self) -> list[str]:
        """Every validator's JSON-RPC address."""
        return [validator.rpc_url for validator in self.validators]

    @property
    def addresses(self) -> list[str]:
        """The validator set: the addresses whose seals count."""
        return [validator.address for validator in self.validators]

    def start(self, *, say: Progress = _silent, seconds: float = START_SECONDS) -> None:
        """Start what is down, and wait until all answer and have made a block together.

        What was started is ended again when that fails or is broken off.

        Raises:
            Conflict: ``port_in_use``.
            Unavailable: ``engine_missing``, ``validator_ended``, ``no_blocks``, ``disk_full``.
        """
        deadline = time.monotonic() + seconds
        with disk_full_translated("starting validators"), exclusive_lock(self.directory / "lock"):
            down = [home for home in self._homes if home.process() is None]
            try:
                self._launch(down, say=say)
                head = max(self.height(index) or 0 for index in range(len(self.validators)))
                everyone = range(len(self.validators))
                self.wait_for_height(
                    head + 1,
                    seconds=max(1.0, deadline - time.monotonic()),
                    say=say,
                    indices=everyone,
                )
            except BaseException:
                _end(down)
                raise
            if not self.genesis_hash:
                self.genesis_hash = self.block_hash(0)
                self._rpcs.clear()
                self._save()

    def add(self, organisation: str) -> Validator:
        """Make the key, ports and directory of one more validator and start it. It copies the
        chain, and seals once it is voted in.

        Raises:
            BadInput: ``organisation_name``.
            Conflict: ``network_new`` before the network first ran.
            Unavailable: as ``start_one``; ``validator_key_missing`` when the key of another is
                lost.
        """
        if not self.genesis_hash:
            raise Conflict(
                "network_new", "The network has not run yet.", hint="Run: qiaolian network up"
            )
        _require_names([*(validator.organisation for validator in self.validators), organisation])
        with disk_full_translated("adding a validator"), exclusive_lock(self.directory / "lock"):
            key, (peer_port, rpc_port) = new_private_key(), free_ports(2)
            added = Validator(organisation, address_of(key), peer_port, rpc_port)
            directory = self.directory / f"validator-{len(self.validators) + 1}"
            shutil.rmtree(directory, ignore_errors=True)  # of an attempt that was broken off
            _create_home(directory, key, [home.url for home in self._homes])
            for home in self._homes:
                home.write_peers(
                    [*home.peer_urls[: len(self.validators) - 1], peer_url(key, peer_port)]
                )
            self.validators.append(added)
            self._homes.append(
                ValidatorHome(
                    directory,
                    added,
                    chain_id=self.chain_id,
                    genesis=self.directory / "genesis.json",
                )
            )
            self._save()
        self.start_one(len(self.validators) - 1)
        return added

    def home_of(self, organisation: str) -> ValidatorHome:
        """The validator of an organisation; ``organisation_unknown``."""
        for home in self._homes:
            if home.validator.organisation == organisation:
                return home
        raise NotFound(
            "organisation_unknown",
            f"No validator of this network is of {organisation}.",
            hint="See: qiaolian network status",
        )

    def start_one(self, index: int) -> None:
        """Start one validator unless it runs, and connect it with the others; it does not wait for
        blocks.
        """
        with disk_full_translated("starting a validator"), exclusive_lock(self.directory / "lock"):
            if self.process(index) is None:
                self._launch([self._homes[index]], say=_silent)

    def stop(self) -> None:
        """Ask every validator to end, then make it."""
        _end(self._homes)

    def kill(self, index: int) -> None:
        """End one validator with SIGKILL, as a power cut would."""
        self._homes[index].kill()

    def destroy(self) -> None:
        """Stop everything and remove the directory with all its data."""
        self.stop()
        shutil.rmtree(self.directory)

    def process(self, index: int) -> psutil.Process | None:
        """A validator's process, if it runs and is the one we started."""
        return self._homes[index].process()

    def pids(self) -> Iterator[int]:
        """The pids of the running validators."""
        for home in self._homes:
            process = home.process()
            if process is not None:
                yield process.pid

    def height(self, index: int = 0) -> int | None:
        """A validator's latest block, or None when it does not answer.

        Raises:
            Unavailable: ``chain_wrong_id`` when another chain answers in its place.
        """
        try:
            return int(self._rpc(index).call("eth_blockNumber"), 16)
        except QiaolianError as error:
            if error.code == "chain_wrong_id":
                raise
            return None

    def block_hash(self, height: int, index: int = 0) -> str:
        """The hash of a block as one validator has it.

        Raises:
            NotFound: ``block_missing``.
        """
        block = self._rpc(index).call("eth_getBlockByNumber", hex(height), False)
        if block is None:
            raise NotFound("block_missing", f"The validator has no block {height}.")
        return str(block["hash"])

    def wait_for_height(
        self,
        height: int,
        *,
        seconds: float = START_SECONDS,
        say: Progress = _silent,
        indices: Sequence[int] | None = None,
    ) -> None:
        """Wait until every validator of ``indices`` has that block; of those that run now, if that
        is not given.

        Raises:
            Unavailable: ``validator_ended`` when one of them ends meanwhile; ``no_blocks`` at the
                deadline.
        """
        started = reported_at = time.monotonic()
        if indices is None:
            indices = [
                index for index, home in enumerate(self._homes) if home.process() is not None
            ]
        while True:
            heights = [self.height(index) for index in indices]
            if heights and all(number is not None and number >= height for number in heights):
                return
            self._require_running(indices)
            now = time.monotonic()
            if now - started > seconds:
                raise Unavailable(
                    "no_blocks",
                    f"The validators did not reach block {height} in {seconds:.0f} s.",
                    hint=f"See {self._homes[0].log}: {self._homes[0].last_log_line()}",
                )
            if now - reported_at > PROGRESS_SECONDS:
                reported_at = now
                shown = ", ".join(
                    "starting" if number is None else str(number) for number in heights
                )
                say(f"waiting for block {height} ({now - started:.0f} s; validators at {shown})")
            time.sleep(0.1)

    def council(self) -> list[str] | None:
        """The addresses that seal the latest block, as a running validator says; None when none
        answers.
        """
        for home in self._homes:
            if home.process() is not None:
                with contextlib.suppress(Unavailable):
                    return home.council()
        return None

    def council_since(self) -> int | None:
        """The first block that the present council seals, as a running validator says; None when
        none answers.
        """
        for index, home in enumerate(self._homes):
            top = self.height(index) if home.process() is not None else None
            if top is not None:
                with contextlib.suppress(Unavailable):
                    return first_of_council(home.council, top)
        return None

    def status(self) -> list[dict[str, Any]]:
        """For each validator: organisation, address, pid, height (None when down), RPC address."""
        rows = []
        for index, (home, validator) in enumerate(zip(self._homes, self.validators, strict=True)):
            process = home.process()
            rows.append(
                {
                    "organisation": validator.organisation,
                    "address": validator.address,
                    "pid": process.pid if process else None,
                    "height": self.height(index) if process else None,
                    "rpc": validator.rpc_url,
                }
            )
        return rows

    def _launch(self, down: list[ValidatorHome], *, say: Progress) -> None:
        """Start validators and see to it that they find each other.

        A proposal made before enough others are there is lost and costs a round change of 10 s or
        more. For the first block Kaia waits until a second after the genesis' time, so that is set
        as late as it may be.
        """
        self._require_data()
        self._restore_peer_files(down)
        if not any(home.initialised for home in self._homes):
            _date(self.directory / "genesis.json")
        for home in down:
            home.initialise()
        for home in down:
            home.start()
        # One that ended at once must be missed, so those just started are named.
        started = [
            index
            for index, home in enumerate(self._homes)
            if home in down or home.process() is not None
        ]
        self.wait_for_height(0, seconds=ANSWER_SECONDS, say=say, indices=started)
        self._connect_validators()

    def _require_data(self) -> None:
        """Refuse to start where validators without data are enough to make final blocks.

        They would begin again at the genesis and seal other blocks at heights that were final.
        Fewer than that copy the chain from the others.
        """
        empty = [home for home in self._homes if not home.initialised]
        quorum = seals_needed(len(self._homes))
        if self.genesis_hash and len(empty) >= quorum:
            raise Unavailable(
                "chain_data_missing",
                f"{len(empty)} of {len(self._homes)} validators have lost the chain's data; they "
                "could seal another chain in its place.",
                hint="Put the data directories back from their backups: at least "
                f"{len(self._homes) - quorum + 1} are needed. To give "
                "the chain up: qiaolian network destroy.",
            )

    def _restore_peer_files(self, down: Sequence[ValidatorHome]) -> None:
        """Write the list of peers of each validator that lost its own; its blocks come from the
        others.
        """
        lost = [home for home in down if not home.peers_file.exists()]
        if not lost:
            return
        urls = {home.validator.address: home.url for home in self._homes}
        for home in lost:
            home.write_peers(
                [url for address, url in urls.items() if address != home.validator.address]
            )

    def _connect_validators(self) -> None:
        """Have running validators dial those they are not connected to.

        They dial while they start, before their own consensus is up, and then drop each other as
        often as not; by themselves they would try again after 30 s.
        """
        deadline = time.monotonic() + CONNECT_SECONDS
        while missing := self._unconnected():
            for home, url in missing:
                home.dial(url)
            redial = time.monotonic() + REDIAL_SECONDS
            while time.monotonic() < redial and self._unconnected():
                time.sleep(0.05)
            if time.monotonic() > deadline:
                return

    def _unconnected(self) -> list[tuple[ValidatorHome, str]]:
        """Pairs of running validators without a connection, as who may dial which address."""
        running = {home.validator.address for home in self._homes if home.process() is not None}
        pairs = []
        for index, home in enumerate(self._homes):
            if home.validator.address in running:
                known = home.peers()
                # An attempt to add a validator that was broken off leaves one address more.
                others = zip(self.validators[index + 1 :], home.peer_urls[index:], strict=False)
                pairs += [
                    (home, url)
                    for validator, url in others
                    if validator.address in running and node_id(url) not in known
                ]
        return pairs

    def _require_running(self, indices: Sequence[int]) -> None:
        for index in indices:
            home = self._homes[index]
            if home.process() is None:
                raise Unavailable(
                    "validator_ended",
                    f"The validator of {home.validator.organisation} ended.",
                    hint=f"See {home.log}: {home.last_log_line()}",
                )

    def _rpc(self, index: int) -> Rpc:
        """A connection that refuses another chain's answers: some other program may have taken the
        port.
        """
        if index not in self._rpcs:
            known = bytes.fromhex(self.genesis_hash[2:]) if self.genesis_hash else None
            self._rpcs[index] = Rpc(
                [self.validators[index].rpc_url],
                chain_id=self.chain_id,
                genesis_hash=known,
                timeout=3,
            )
        return self._rpcs[index]

    def _save(self) -> None:
        homes = zip(self.validators, self._homes, strict=True)
        content = {
            "engine": f"kaia kcn {engine_version()}",
            "chainId": self.chain_id,
            "genesisHash": self.genesis_hash,
            "validators": [
                validator.to_json() | {"pidFile": str(home.pid_file.relative_to(self.directory))}
                for validator, home in homes
            ],
        }
        write_atomically(self.directory / "network.json", json.dumps(content, indent=1) + "\n")


def first_of_council(council: Callable[[int], list[str]], top: int) -> int:
    """The first block of those who seal block ``top``; ``council(h)`` are those who seal block h.

    Looks back in steps that double, so of several changes within one step it may find an earlier
    one than the last.
    """
    now, same, step = council(top), top, 1
    while same > 0 and council(max(0, same - step)) == now:
        same, step = max(0, same - step), 2 * step
    other = max(-1, same - step)
    while same > 0 and same - other > 1:
        middle = (same + other) // 2
        same, other = (middle, other) if council(middle) == now else (same, middle)
    return same


def _end(homes: Sequence[ValidatorHome]) -> None:
    asked = [process for home in homes if (process := home.terminate()) is not None]
    _, alive = psutil.wait_procs(asked, timeout=STOP_SECONDS)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=STOP_SECONDS)


def _require_organisations(names: Sequence[str]) -> None:
    if len(names) != 1 and len(names) < 4:
        raise BadInput(
            "validator_count",
            f"A network of {len(names)} validators cannot bear the loss of one.",
            hint="Give 1 organisation (for trying out) or at least 4.",
        )
    _require_names(names)


def _require_names(names: Sequence[str]) -> None:
    if len(set(names)) != len(names) or not all(name.strip() for name in names):
        raise BadInput(
            "organisation_name",
            "An organisation's name is empty or given twice.",
            hint="Name each once.",
        )


def _require_disk_space(directory: Path) -> None:
    if (directory / "network.json").exists():
        raise Conflict(
            "network_exists",
            f"There is a network in {directory}.",
            hint="Use it, or destroy it first.",
        )
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise Conflict(
            "directory_not_empty",
            f"{directory} holds something else.",
            hint="Give an empty directory.",
        )


def _create_home(home: Path, key: bytes, peers: list[str]) -> None:
    (home / "data").mkdir(parents=True, mode=0o700)
    descriptor = os.open(home / "nodekey", os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(key.hex())
    write_atomically(home / "data" / "static-nodes.json", json.dumps(peers))


def _date(path: Path) -> None:
    """Set a genesis' time to the latest that validators accept, a second from now."""
    content = json.loads(path.read_bytes()) | {"timestamp": hex(int(time.time()) + 1)}
    write_atomically(path, json.dumps(content, indent=1) + "\n")
