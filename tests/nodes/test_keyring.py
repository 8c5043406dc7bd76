"""A key replacement that is interrupted at any step loses no key and can be continued."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chain.keys.files import KeyStore
from chain.statements.members import KeyPurpose
from nodes.config import load
from nodes.initialise import (
    CERTIFICATE_FILE,
    CONFIG_FILE,
    NODE_KEYS,
    NodePlan,
    initialise,
    public_keys,
    read_public,
)
from nodes.keyring import Keyring
from tests.nodes.conftest import member_id


@pytest.fixture(scope="module")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node's directory, for copies."""
    directory = tmp_path_factory.mktemp("laid-out") / "node"
    initialise(
        NodePlan(directory=directory, member=member_id(7), name="office", roles=("department",))
    )
    return directory


@pytest.fixture
def config_file(laid_out: Path, tmp_path: Path) -> Path:
    shutil.copytree(laid_out, tmp_path / "node")
    return tmp_path / "node" / CONFIG_FILE


def killed_after(config_file: Path, purpose: KeyPurpose, steps: int) -> bool:
    """Replace a key in a process that is killed at the change of a file's name with that number;
    whether it came so far.
    """
    process = multiprocessing.get_context("fork").Process(
        target=_replace, args=(config_file, purpose, steps)
    )
    process.start()
    process.join(120)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def _replace(config_file: Path, purpose: KeyPurpose, steps: int) -> None:
    left = iter(range(steps))

    def dies(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*given: Any, **more: Any) -> Any:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*given, **more)

        return changed

    Path.replace, os.link = dies(Path.replace), dies(os.link)
    ring = Keyring(load(config_file))
    ring.make_next(purpose)
    ring.put_in_use(purpose)


@pytest.mark.parametrize("purpose", [KeyPurpose.STATEMENT, KeyPurpose.TLS])
@pytest.mark.parametrize("steps", range(7))
def test_a_replacement_killed_between_any_two_changes_of_files_goes_on_and_loses_no_key(
    config_file: Path, purpose: KeyPurpose, steps: int
) -> None:
    config, (name, algorithm) = load(config_file), NODE_KEYS[purpose]
    directory = config.path(config.keys.dir)
    before = public_keys(directory)[purpose].fingerprint
    killed_after(config_file, purpose, steps)
    store = KeyStore(directory, config.passphrase())
    held = {
        store.fingerprint(text, algorithm)
        for text in store.names()
        if text == name or text.startswith(f"{name}.")
    }
    assert before in held, "the key in use is there, whenever the process is killed"

    ring = Keyring(config)
    if ring.next(purpose) is not None or not ring.replaced(purpose):
        ring.make_next(purpose)
        ring.put_in_use(purpose)
    ring.publish()
    assert ring.replaced(purpose) == [before]
    assert ring.next(purpose) is None
    assert ring.in_use(purpose) == public_keys(directory)[purpose].fingerprint != before
    assert held <= {ring.in_use(purpose), before}, "a repeated step makes no second key"
    assert [entry.fingerprint for entry in read_public(directory, "replaced").values()] == [before]
    assert all(path.stat().st_mode & 0o077 == 0 for path in directory.glob("*.json"))
    assert (directory / CERTIFICATE_FILE).is_file()


def test_replaced_keys_keep_their_order_and_an_ended_one_keeps_its_file(config_file: Path) -> None:
    config = load(config_file)
    ring, purpose = Keyring(config), KeyPurpose.STATEMENT
    used = [ring.in_use(purpose)]
    for _ in range(11):
        ring.make_next(purpose)
        ring.put_in_use(purpose)
        used.append(ring.in_use(purpose))
    assert ring.replaced(purpose) == used[:-1]
    ring.mark_ended(purpose, used[0], 123)
    assert ring.replaced(purpose) == used[1:-1]
    store = KeyStore(config.path(config.keys.dir), config.passphrase())
    assert store.replaced("statement")[0] == "statement.1.ended-123"
    assert store.fingerprint("statement.1.ended-123", NODE_KEYS[purpose][1]) == used[0]
