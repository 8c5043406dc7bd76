"""An attempt completes at both parties or leaves nothing: peers that die, alter, reorder or differ
at every message.
"""

from __future__ import annotations

import asyncio
import csv
import json
import os
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from federated.attempt import VERSION, Attempt, replay, result_commitment
from federated.channel import Buffer, Channel
from federated.errors import PeerFault, QiaolianError
from federated.gate import FolderGate
from federated.job import Job
from federated.local import QueueWire, wire_pair
from federated.party import PartyConfig
from federated.sources import read
from tests.federated.conftest import Approve, MakeJob

Ends = dict[str, dict[str, Any]]
Parties = dict[str, PartyConfig]


def silent(_stage: str, _share: float) -> None: ...


def run_both(parties: Parties, job: Job, wires: tuple[Any, Any] | None = None) -> Ends:
    """Run both sides in this process; for each party its receipt or ``{"error": …}``, with its
    folder.
    """
    ends = dict(zip(parties, wires or wire_pair(), strict=True))
    peer = {"bank": "tax", "tax": "bank"}

    async def one(name: str) -> dict[str, Any]:
        config = parties[name]
        folder = config.home / "jobs" / f"attempt-{len(list(config.home.glob('jobs/*')))}"
        attempt = Attempt(
            config,
            job,
            FolderGate(config.home / "approvals"),
            {peer[name]: ends[name]},
            folder,
            silent,
        )
        try:
            return {**await attempt.run(), "folder": folder}
        except QiaolianError as error:
            return {"error": error, "folder": folder}
        finally:
            await ends[name].close()

    async def both() -> Ends:
        async with asyncio.timeout(60):
            return dict(
                zip(parties, await asyncio.gather(*(one(name) for name in parties)), strict=True)
            )

    return asyncio.run(both())


def codes(ends: Ends) -> set[str]:
    return {end["error"].code for end in ends.values() if "error" in end}


def state(end: dict[str, Any]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((end["folder"] / "state.json").read_text())
    return value


def require_nothing_left(end: dict[str, Any]) -> None:
    """Of a failed attempt only the request and its outcome."""
    assert sorted(path.name for path in end["folder"].iterdir()) == ["spec.json", "state.json"]
    assert (state(end)["state"], state(end)["code"]) == ("failed", end["error"].code)
    assert end["error"].code != "internal"


def found(end: dict[str, Any]) -> list[str]:
    with (end["folder"] / "output" / "intersection.csv").open() as file:
        return sorted(row["id"] for row in csv.DictReader(file))


# --- What holds when all is well ------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ecdh", "kkrt"])
def test_both_end_with_the_same_attempt_heads_and_results(
    parties: Parties, make_job: MakeJob, approve: Approve, common: list[str], method: str
) -> None:
    job = make_job(method=method, reveal="both")
    approve(job)
    ends = run_both(parties, job)
    bank, tax = ends["bank"], ends["tax"]
    assert found(bank) == found(tax) == common
    for part in ("attempt", "spec", "code", "hellos", "directions", "results"):
        assert bank[part] == tax[part], part
    assert bank["sentBytes"] == tax["receivedBytes"] > 0
    for end in ends.values():
        assert (
            end["results"][end["party"]]
            == "0x" + result_commitment(end, bytes.fromhex(end["resultSalt"][2:])).hex()
        )
        assert state(end)["state"] == "done"
        assert all(path.stat().st_mode & 0o077 == 0 for path in end["folder"].rglob("*"))
    assert bank["inputs"]["bank"]["root"] == tax["inputs"]["bank"]["root"]


def test_two_attempts_at_a_job_share_no_seed(
    parties: Parties, make_job: MakeJob, approve: Approve
) -> None:
    job = make_job()
    approve(job)
    first, second = run_both(parties, job), run_both(parties, job)
    assert first["bank"]["attempt"] != second["bank"]["attempt"]
    assert first["bank"]["inputs"]["bank"]["root"] != second["bank"]["inputs"]["bank"]["root"]
    assert first["bank"]["directions"] != second["bank"]["directions"]


# --- A peer that dies, and a line that lies, at every message -------------------------------------


class Line:
    """One end of a line that does something to the frame of this number (of this end's own)."""

    def __init__(
        self, wire: QueueWire, at: int, act: Callable[[bytes], bytes | None], *, swap: bool = False
    ) -> None:
        self._wire, self._at, self._act, self._swap, self._held = wire, at, act, swap, b""
        self.count = 0

    async def send(self, frame: Sequence[Buffer]) -> None:
        whole, index = b"".join(frame), self.count
        self.count += 1
        if self._held:
            await self._wire.send([whole])
            whole, self._held = self._held, b""
        elif index == self._at and self._swap:
            self._held = whole
            asyncio.get_running_loop().call_later(
                0.3, lambda: asyncio.ensure_future(self._release())
            )
            return
        elif index == self._at:
            altered = self._act(whole)
            if altered is None:
                await self.close()
                raise PeerFault("peer_gone", "The line is cut.")
            whole = altered
        await self._wire.send([whole])

    async def _release(self) -> None:
        """Nothing followed the held frame, because the peer waits for it: it goes as it is."""
        if self._held:
            held, self._held = self._held, b""
            await self._wire.send([held])

    async def receive(self) -> memoryview:
        return await self._wire.receive()

    async def close(self) -> None:
        await self._wire.close()


def frames_of(parties: Parties, job: Job, sender: str) -> int:
    """How many frames this party sends in an undisturbed run."""
    ends, line = lines(sender, -1, lambda frame: frame)
    assert codes(run_both(parties, job, ends)) == set()
    return line.count


def lines(
    sender: str, at: int, act: Callable[[bytes], bytes | None], *, swap: bool = False
) -> tuple[tuple[Any, Any], Line]:
    bank, tax = wire_pair()
    line = Line(bank if sender == "bank" else tax, at, act, swap=swap)
    return ((line, tax) if sender == "bank" else (bank, line)), line


def flipped(frame: bytes) -> bytes:
    """The last byte changed: the value of the last field."""
    return frame[:-1] + bytes([frame[-1] ^ 1])


@pytest.mark.parametrize("method", ["ecdh", "kkrt"])
@pytest.mark.parametrize("sender", ["bank", "tax"])
def test_a_peer_that_dies_before_any_message_leaves_nothing_or_a_whole_result(
    parties: Parties,
    make_job: MakeJob,
    approve: Approve,
    common: list[str],
    sender: str,
    method: str,
) -> None:
    job = make_job(method=method, reveal="both")
    approve(job)
    total = frames_of(parties, job, sender)
    assert total >= 8
    for at in range(total):
        ends = run_both(parties, job, lines(sender, at, lambda _frame: None)[0])
        assert "error" in ends[sender]
        for end in ends.values():
            if "error" in end:
                assert end["error"].code in ("peer_gone", "peer_failed")
                require_nothing_left(end)
            else:
                # It had every message, the last one too, before the other's line was cut.
                assert at == total - 1
                assert found(end) == common


@pytest.mark.parametrize("method", ["ecdh", pytest.param("kkrt", marks=pytest.mark.long)])
@pytest.mark.parametrize("sender", ["bank", "tax"])
def test_one_altered_byte_in_any_message_is_noticed(
    parties: Parties, make_job: MakeJob, approve: Approve, sender: str, method: str
) -> None:
    job = make_job(method=method, reveal="both")
    approve(job)
    total = frames_of(parties, job, sender)
    for at in range(total - 1):  # the last one carries the heads: see below
        ends = run_both(parties, job, lines(sender, at, flipped)[0])
        for end in ends.values():
            assert "error" in end, f"message {at}"
            require_nothing_left(end)


@pytest.mark.parametrize("sender", ["bank", "tax"])
def test_messages_in_another_order_are_refused(
    parties: Parties, make_job: MakeJob, approve: Approve, sender: str
) -> None:
    job = make_job(method="kkrt", reveal="both")
    approve(job)
    swapped = 0
    for at in range(3, frames_of(parties, job, sender) - 1):
        ends = run_both(parties, job, lines(sender, at, flipped, swap=True)[0])
        if codes(ends):
            swapped += 1
            assert codes(ends) == {"message_out_of_order", "peer_failed"}
            for end in ends.values():
                require_nothing_left(end)
    assert swapped >= 2


# --- What must be the same at both ----------------------------------------------------------------


def with_peer(
    config: PartyConfig, job: Job, act: Callable[[Channel, dict[str, Any]], Any]
) -> QiaolianError:
    """One party against a hand-driven peer that gets the party's hello; the party's error."""

    async def both() -> QiaolianError:
        own, theirs = wire_pair()

        async def peer() -> None:
            channel = Channel(config.name, theirs)
            try:
                await act(channel, (await channel.receive("hello")).value("hello"))
                while True:
                    await theirs.receive()
            except QiaolianError:
                pass

        async def party() -> QiaolianError:
            attempt = Attempt(
                config,
                job,
                FolderGate(config.home / "approvals"),
                {"tax": own},
                config.home / "jobs" / "lied-to",
                silent,
            )
            try:
                await attempt.run()
            except QiaolianError as error:
                return error
            finally:
                await own.close()
            raise AssertionError("the attempt went through")

        async with asyncio.timeout(20):
            error, _ = await asyncio.gather(party(), peer())
        require_nothing_left({"error": error, "folder": config.home / "jobs" / "lied-to"})
        return error

    return asyncio.run(both())


@pytest.mark.parametrize(
    ("part", "value", "code"),
    [
        ("version", VERSION + 1, "version_differs"),
        ("spec", "00" * 32, "spec_differs"),
        ("code", "00" * 32, "code_differs"),
        ("seed", None, "message_malformed"),
        ("seed", ["x"], "message_malformed"),
    ],
)
def test_a_peer_with_another_version_specification_or_code_is_refused(
    parties: Parties, make_job: MakeJob, approve: Approve, part: str, value: Any, code: str
) -> None:
    job = make_job()
    approve(job)

    async def act(channel: Channel, hello: dict[str, Any]) -> None:
        await channel.send("hello", hello={**hello, part: value})

    assert with_peer(parties["bank"], job, act).code == code


@pytest.mark.parametrize("hello", [None, [], "x", 7, {}, {"version": 1}])
def test_a_hello_that_is_none_is_refused(
    parties: Parties, make_job: MakeJob, approve: Approve, hello: Any
) -> None:
    job = make_job()
    approve(job)

    async def act(channel: Channel, _hello: dict[str, Any]) -> None:
        await channel.send("hello", hello=hello)

    assert with_peer(parties["bank"], job, act).code == "message_malformed"


def test_parties_with_different_seed_commitments_stop(
    parties: Parties, make_job: MakeJob, approve: Approve
) -> None:
    job = make_job()
    approve(job)

    async def act(channel: Channel, hello: dict[str, Any]) -> None:
        await channel.send("hello", hello=hello)
        await channel.send("agreed", agreement=bytes(32))

    assert with_peer(parties["bank"], job, act).code == "attempt_differs"


# --- The gate -------------------------------------------------------------------------------------


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Every source that is opened, by a wrapper around the real reader."""
    opened: list[Path] = []

    def noted(path: Path, **how: Any) -> Any:
        opened.append(path)
        return read(path, **how)

    monkeypatch.setattr("federated.attempt.sources.read", noted)
    yield opened


@pytest.mark.parametrize("without", ["bank", "tax"])
def test_no_source_is_opened_before_every_owner_said_yes(
    parties: Parties,
    make_job: MakeJob,
    approve: Approve,
    monkeypatch: pytest.MonkeyPatch,
    without: str,
) -> None:
    job = make_job()
    approve(job)
    for path in (parties[without].home / "approvals").glob("*.json"):
        path.unlink()
    with watched(monkeypatch) as opened:
        ends = run_both(parties, job)
        assert opened == []
        assert ends[without]["error"].code == "gate_refused"
        assert codes(ends) == {"gate_refused", "peer_failed"}
        for end in ends.values():
            require_nothing_left(end)
        approve(job)
        assert codes(run_both(parties, job)) == set()
        assert len(opened) == 2  # the wrapper does see what is opened


@pytest.mark.parametrize("says", [None, "permitted"])
def test_a_peer_that_never_shows_its_yes_opens_nothing(
    parties: Parties,
    make_job: MakeJob,
    approve: Approve,
    monkeypatch: pytest.MonkeyPatch,
    says: str | None,
) -> None:
    job = make_job()
    approve(job)

    async def act(channel: Channel, hello: dict[str, Any]) -> None:
        await channel.send("hello", hello=hello)
        agreement = (await channel.receive("agreed")).blob("agreement", 32)
        await channel.send("agreed", agreement=agreement)
        permits = Channel("bank", channel._wire)
        await permits.receive("permit")
        if says is None:
            await channel._wire.close()  # type: ignore[attr-defined]
        else:
            await permits.send(says)

    with watched(monkeypatch) as opened:
        assert with_peer(parties["bank"], job, act).code == (
            "peer_gone" if says is None else "message_unexpected"
        )
        assert opened == []


# --- A full disk ----------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, 600, 2000])
def test_a_full_disk_stops_the_run_and_leaves_nothing(
    parties: Parties, make_job: MakeJob, approve: Approve, limit: int
) -> None:
    """A limit on file sizes replaces the full disk: nothing at all, the recording, or the receipt
    does not fit.
    """
    job = make_job(reveal="both")
    approve(job)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        ends = run_both(parties, job)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "disk_full" in codes(ends)
    assert codes(ends) <= {"disk_full", "peer_failed"}
    for end in ends.values():
        assert {path.name for path in end["folder"].iterdir()} <= {"spec.json", "state.json"}


# --- Replay ---------------------------------------------------------------------------------------


def again(config: PartyConfig, folder: Path) -> dict[str, Any]:
    return asyncio.run(replay(config, folder, silent))


def replay_code(config: PartyConfig, folder: Path) -> str:
    with pytest.raises(QiaolianError) as caught:
        again(config, folder)
    return caught.value.code


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"method": "kkrt"},
        {"method": "kkrt", "suite": "sm"},
        {"reveal": "both"},
        {"reveal": "size"},
    ],
)
def test_each_party_replays_its_side_alone(
    parties: Parties, make_job: MakeJob, approve: Approve, parameters: dict[str, Any]
) -> None:
    job = make_job(**parameters)
    approve(job)
    ends = run_both(parties, job)
    for name, config in parties.items():
        result = again(config, ends[name]["folder"])
        assert result["equal"] is True
        assert result["attempt"] == ends[name]["attempt"]


def test_any_flipped_byte_of_the_recording_is_found(
    parties: Parties, make_job: MakeJob, approve: Approve
) -> None:
    job = make_job()
    approve(job)
    folder = run_both(parties, job)["bank"]["folder"]
    recording = folder / "received"
    whole = recording.read_bytes()
    for at in [*range(0, len(whole), 97), len(whole) - 1]:
        recording.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert replay_code(parties["bank"], folder) == "recording_altered", at
    recording.write_bytes(whole[:-1])
    assert replay_code(parties["bank"], folder) == "recording_altered"
    recording.write_bytes(whole)
    assert again(parties["bank"], folder)["equal"] is True


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda folder, _home: (folder / "seed").write_bytes(bytes(32)), "seed_differs"),
        (lambda folder, _home: (folder / "beacon").write_bytes(bytes(32)), "replay_mismatch"),
        (lambda folder, _home: (folder / "received").unlink(), "recording_missing"),
        (lambda folder, _home: (folder / "sent").write_text("[]\n" * 3), "recording_altered"),
        (lambda folder, _home: (folder / "receipt.json").unlink(), "attempt_unknown"),
        (
            lambda folder, _home: edit(folder / "receipt.json", "code", "0x" + "00" * 32),
            "code_differs",
        ),
        (
            lambda folder, _home: edit(folder / "receipt.json", "metrics", {"rows": 41}),
            "replay_mismatch",
        ),
        (lambda folder, _home: edit(folder / "receipt.json", "files", {}), "replay_mismatch"),
        (lambda _folder, home: (home / "loans.csv").write_text("code\nx\n"), "inputs_differ"),
        (lambda _folder, home: (home / "loans.csv").unlink(), "source_missing"),
    ],
)
def test_what_is_not_as_it_was_is_named(
    parties: Parties, make_job: MakeJob, approve: Approve, change: Any, code: str
) -> None:
    job = make_job()
    approve(job)
    folder = run_both(parties, job)["bank"]["folder"]
    change(folder, parties["bank"].home)
    assert replay_code(parties["bank"], folder) == code


def edit(path: Path, part: str, value: Any) -> None:
    content = json.loads(path.read_text())
    content[part] = value
    path.write_text(json.dumps(content))


def test_a_replay_draws_nothing_and_spends_nothing(
    parties: Parties, make_job: MakeJob, approve: Approve
) -> None:
    job = make_job()
    approve(job)
    folder = run_both(parties, job)["bank"]["folder"]
    before = {
        path: path.stat().st_mtime_ns for path in parties["bank"].home.rglob("*") if path.is_file()
    }
    again(parties["bank"], folder)
    assert {
        path: path.stat().st_mtime_ns for path in parties["bank"].home.rglob("*") if path.is_file()
    } == before
    assert len(os.listdir(parties["bank"].home / "approvals" / "spent")) == 1
