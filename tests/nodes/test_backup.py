"""Backups of a node: complete under load, opened by their key alone, restored anywhere or not at
all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest
import sqlalchemy as sa

from chain.core.database import Database, Session
from chain.core.errors import BadInput, Conflict, QiaolianError
from chain.keys.files import KeyStore
from chain.log import merkle
from nodes import backup as backups
from nodes import backup_archive
from nodes.config import NodeConfig, load
from nodes.initialise import NodePlan, initialise
from nodes.migrate import upgrade
from registry.evidence.log import append, integrate_pending
from registry.uscc import with_check_character

ROOT = Path(__file__).parents[2]
MEMBER = with_check_character("11440700MB2N0D001")


def quiet(_line: str) -> None:
    pass


@pytest.fixture
def node(tmp_path: Path) -> NodeConfig:
    """A laid-out node with a database of the present schema and 20 log entries."""
    home = tmp_path / "侨 node"
    initialise(NodePlan(home, MEMBER, "税务局", ("department",)))
    (home / "deployment.json").write_text("{}")
    upload = home / "data" / "uploads" / "upload-0123456789abcdef"
    upload.mkdir(parents=True)
    (upload / "content").write_text("id,a\n1,x\n")
    config = load(home / "node.toml")
    upgrade(config.database_url, lock_dir=config.data)
    database = Database(config.database_url)
    for number in range(20):
        database.write(lambda session, number=number: _entry(session, number))
    database.close()
    return config


@pytest.fixture
def key(tmp_path: Path) -> tuple[Path, str]:
    """A backup key's file and its public key."""
    return tmp_path / "backup.key", backups.create_key(tmp_path / "backup.key")


def _entry(session: Session, number: int) -> None:
    append(session, kind="Test", digest=hashlib.sha256(b"%d" % number).digest(), at=number)
    integrate_pending(session)


def _root(config: NodeConfig) -> tuple[int, bytes]:
    engine = sa.create_engine(config.database_url)
    frontier = merkle.Frontier()
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT leaf FROM evidence_entry ORDER BY entry_index"))
        for (leaf,) in rows:
            for _ in frontier.append(merkle.leaf_hash(leaf)):
                pass
    engine.dispose()
    return frontier.size, frontier.root()


@contextlib.contextmanager
def writers(config: NodeConfig) -> Iterator[threading.Event]:
    """Three threads that write without pause until the block ends; the event says they have begun."""
    database, stop, begun = Database(config.database_url), threading.Event(), threading.Event()

    def write(first: int) -> None:
        number = first
        while not stop.is_set():
            database.write(lambda session, number=number: _entry(session, number))
            number += 3
            begun.set()

    threads = [threading.Thread(target=write, args=(1_000 + index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield begun
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        database.close()


def test_a_backup_under_constant_writing_ends_and_is_one_moment_of_the_log(
    node: NodeConfig, key: tuple[Path, str], tmp_path: Path
) -> None:
    with writers(node) as begun:
        assert begun.wait(60)
        made = backups.backup(node, tmp_path / "node.backup", [key[1]], quiet)
    restored = backups.restore(tmp_path / "node.backup", key[0], tmp_path / "elsewhere", quiet)
    assert restored == made
    config = load(tmp_path / "elsewhere" / "node.toml")
    assert _root(config) == (made.log_size, made.log_root)
    assert 20 < made.log_size <= _root(node)[0]
    assert backups.paths_outside(tmp_path / "elsewhere") == []


def test_a_restored_node_has_its_keys_but_not_their_passphrase(
    node: NodeConfig, key: tuple[Path, str], tmp_path: Path
) -> None:
    backups.backup(node, tmp_path / "node.backup", [key[1]], quiet)
    backups.restore(tmp_path / "node.backup", key[0], tmp_path / "elsewhere", quiet)
    config = load(tmp_path / "elsewhere" / "node.toml")
    with pytest.raises(BadInput, match="passphrase"):
        config.passphrase()
    upload = config.data / "uploads" / "upload-0123456789abcdef" / "content"
    assert upload.read_text() == "id,a\n1,x\n"
    store = KeyStore(config.path(config.keys.dir), node.passphrase())
    was = KeyStore(node.path(node.keys.dir), node.passphrase())
    assert store.secp256k1("statement").address == was.secp256k1("statement").address


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_another_user_restores_under_another_path(
    node: NodeConfig, key: tuple[Path, str], tmp_path: Path
) -> None:
    backups.backup(node, tmp_path / "node.backup", [key[1]], quiet)
    other = tmp_path / "other user"
    other.mkdir()
    for path in (tmp_path / "node.backup", key[0], other):
        os.chown(path, 65_534, 65_534)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == 0 and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    done = _restored_as(65_534, tmp_path / "node.backup", key[0], other / "node")
    assert done.returncode == 0, done.stderr
    files = [path for path in (other / "node").rglob("*") if path.is_file()]
    assert files
    assert {path.stat().st_uid for path in files} == {65_534}
    assert {path.stat().st_mode & 0o077 for path in files} == {0}


def _restored_as(
    uid: int, archive: Path, key: Path, directory: Path
) -> subprocess.CompletedProcess[str]:
    # Imports come first: another user need not be able to read this project's folder.
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom nodes import backup\n"
        "import nodes.config, nodes.migrate\nnodes.migrate.known_revisions()\n"
        f"backup.known_revisions = lambda known=nodes.migrate.known_revisions(): known\n"
        f"os.setgid({uid}); os.setuid({uid})\n"
        "backup.restore(*map(Path, sys.argv[1:4]), lambda line: None)\n"
    )
    command = [sys.executable, "-c", code, str(archive), str(key), str(directory)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )


def test_each_byte_changed_anywhere_keeps_a_backup_from_being_restored(
    node: NodeConfig, key: tuple[Path, str], tmp_path: Path
) -> None:
    file = tmp_path / "node.backup"
    backups.backup(node, file, [key[1]], quiet)
    data = file.read_bytes()
    for index in (0, 30, len(data) // 3, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:index] + bytes([data[index] ^ 1]) + data[index + 1 :])
        _refused(file, key[0], tmp_path, "backup_malformed", "backup_key_wrong")
    for size in (0, 1, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:size])
        _refused(file, key[0], tmp_path, "backup_malformed", "backup_key_wrong")


def test_another_key_does_not_open_a_backup(
    node: NodeConfig, key: tuple[Path, str], tmp_path: Path
) -> None:
    backups.backup(node, tmp_path / "node.backup", [key[1]], quiet)
    backups.create_key(tmp_path / "other.key")
    _refused(tmp_path / "node.backup", tmp_path / "other.key", tmp_path, "backup_key_wrong")


def test_files_the_manifest_does_not_name_are_not_written(
    key: tuple[Path, str], tmp_path: Path
) -> None:
    for name in ("../evil", "/evil", "keys/extra"):
        file = tmp_path / "forged.backup"
        file.write_bytes(_forged(key[1], name))
        _refused(file, key[0], tmp_path, "backup_malformed", "backup_damaged")
        assert not (tmp_path / "evil").exists()
        assert not Path("/evil").exists()


def _forged(public: str, name: str) -> bytes:
    import io
    import tarfile

    named = {name: hashlib.sha256(b"x").hexdigest()} if name != "keys/extra" else {}
    content = backup_archive.BackupContent(MEMBER, 0, "0001", 0, merkle.EMPTY_ROOT, named)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for entry, data in (
            ("manifest.json", json.dumps(content.to_json()).encode()),
            (name, b"x"),
        ):
            info = tarfile.TarInfo(entry)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return pyrage.encrypt(out.getvalue(), [pyrage.x25519.Recipient.from_str(public)])


def _refused(file: Path, key: Path, tmp_path: Path, *codes: str) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(QiaolianError) as refused:
        backups.restore(file, key, tmp_path / "elsewhere", quiet)
    assert refused.value.code in codes
    assert sorted(tmp_path.iterdir()) == before


def test_nothing_is_overwritten(node: NodeConfig, key: tuple[Path, str], tmp_path: Path) -> None:
    backups.backup(node, tmp_path / "node.backup", [key[1]], quiet)
    with pytest.raises(Conflict, match="never overwritten"):
        backups.backup(node, tmp_path / "node.backup", [key[1]], quiet)
    with pytest.raises(Conflict, match="not empty"):
        backups.restore(tmp_path / "node.backup", key[0], node.home, quiet)
    with pytest.raises(Conflict, match="never overwritten"):
        backups.create_key(key[0])


def test_a_private_key_or_nonsense_is_no_public_key(node: NodeConfig, tmp_path: Path) -> None:
    for text in ("", "age1nonsense", str(pyrage.x25519.Identity.generate())):
        with pytest.raises(BadInput) as refused:
            backups.backup(node, tmp_path / "node.backup", [text], quiet)
        assert refused.value.code == "backup_key_malformed"
        assert not (tmp_path / "node.backup").exists()


def test_a_damaged_database_is_not_backed_up_as_if_it_were_whole(
    node: NodeConfig, key: tuple[Path, str], tmp_path: Path
) -> None:
    path = Path(node.database_url.removeprefix("sqlite:///"))
    data = bytearray(path.read_bytes())
    data[4096 * 3 : 4096 * 6] = b"\xff" * (4096 * 3)
    path.write_bytes(data)
    with pytest.raises(QiaolianError) as refused:
        backups.backup(node, tmp_path / "node.backup", [key[1]], quiet)
    assert refused.value.code in ("backup_damaged", "database_unavailable")
    assert not list(tmp_path.glob("node.backup*"))


def test_the_commands_say_what_to_do_next(node: NodeConfig, tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "nodes", *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    public = run("backup-key", "--out", str(tmp_path / "k")).strip().rpartition(" ")[2]
    config, out = str(node.home / "node.toml"), str(tmp_path / "b")
    assert "passphrase is not in it" in run(
        "backup", "--config", config, "--out", out, "--to", public
    )
    assert "every file verified" in run(
        "restore", "--backup", out, "--key", str(tmp_path / "k"), "--check"
    )
    shown = run(
        "restore", "--backup", out, "--key", str(tmp_path / "k"), "--dir", str(tmp_path / "n")
    )
    assert "qiaolian node recover" in shown
    assert (tmp_path / "n" / "data" / "node.db").is_file()
