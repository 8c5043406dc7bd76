"""The throw-away chain: each start is fresh, it ends with its context, and a failed start reports
why.
"""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

import chain.ethereum.anvil
from chain.core.errors import Unavailable
from chain.ethereum.anvil import anvil, anvil_path
from chain.ethereum.rpc import ChainUnreachable, Rpc


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children() if child.name() == "anvil"}


def test_each_chain_is_fresh_answers_on_loopback_and_ends_with_its_block() -> None:
    before = children()
    with anvil() as one, anvil() as other:
        assert one != other
        assert all(url.startswith("http://127.0.0.1:") for url in (one, other))
        assert len(children() - before) == 2
        for url in (one, other):
            rpc = Rpc([url])
            assert int(rpc.call("eth_blockNumber"), 16) == 0
            assert rpc.call("eth_accounts") == []
            assert int(rpc.call("eth_gasPrice"), 16) == 0
        Rpc([one]).call("evm_mine")
        assert [int(Rpc([url]).call("eth_blockNumber"), 16) for url in (one, other)] == [1, 0]
    assert children() == before
    for url in (one, other):
        with pytest.raises(ChainUnreachable):
            Rpc([url]).call("eth_blockNumber")


def test_a_chain_ends_with_its_block_however_that_ends() -> None:
    before = children()
    with pytest.raises(ZeroDivisionError), anvil():
        assert children() != before
        _ = 1 / 0
    assert children() == before


def test_its_clock_can_be_moved(anvil: str) -> None:
    rpc = Rpc([anvil])
    first = int(rpc.call("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
    rpc.call("evm_increaseTime", 86_400)
    rpc.call("evm_mine")
    assert int(rpc.call("eth_getBlockByNumber", "latest", False)["timestamp"], 16) >= first + 86_400


def test_the_program_itself_is_started_and_not_its_launcher() -> None:
    assert not anvil_path().read_bytes().startswith(b"#!")


def test_a_missing_program_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain.ethereum.anvil, "_PACKAGES", tmp_path)
    with pytest.raises(Unavailable) as caught, anvil():
        pass
    assert (caught.value.code, caught.value.exit_code) == ("anvil_missing", 4)
    assert "npm ci" in caught.value.hint


def test_a_program_that_ends_at_once_is_said_so_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "anvil-any" / "bin" / "anvil"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho 'error: unknown flag' >&2\nexit 2\n")
    program.chmod(0o755)
    monkeypatch.setattr(chain.ethereum.anvil, "_PACKAGES", tmp_path)
    with pytest.raises(Unavailable) as caught, anvil():
        pass
    assert caught.value.code == "anvil_failed"
    assert caught.value.hint == "error: unknown flag"
