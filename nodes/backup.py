"""``qiaolian node backup`` and ``qiaolian node restore``: a node's directory in one encrypted file.

A backup holds the configuration, the encrypted key files, the certificate, the access token hashes,
the deployment file, uploaded files and a consistent snapshot of the database. It may be made while
the node runs and under any load: the snapshot is one read transaction (SQLite ``VACUUM INTO``),
which writers neither wait for nor restart, and which leaves out the pages of deleted rows.

The file (``backup_archive``) is encrypted to public keys, so a scheduled backup needs no secret.
The passphrase of the key store is never part of it: whoever has only the backup and the backup key
cannot sign as this organisation.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pyrage

from chain.core.errors import BadInput, Conflict, Unavailable
from chain.keys.files import write_private
from nodes.backup_archive import (
    DATABASE,
    BackupContent,
    Progress,
    damaged,
    extract,
    log_of,
    recipient_of,
    sha256_of,
    write_archive,
)
from nodes.config import NodeConfig, load
from nodes.initialise import ADMISSION_FILE, CONFIG_FILE

_SQLITE = "sqlite:///"


def create_key(path: Path) -> str:
    """Make the key that opens backups, in a file of its own; the public key to encrypt to.

    Raises:
        Conflict: ``key_exists``.
    """
    if path.exists():
        raise Conflict(
            "key_exists", f"{path} exists; a key is never overwritten.", hint="Choose another file."
        )
    identity = pyrage.x25519.Identity.generate()
    public = str(identity.to_public())
    write_private(path, f"# public key: {public}\n{identity}\n".encode())
    return public


def backup(
    config: NodeConfig, out: Path, recipients: Sequence[str], progress: Progress
) -> BackupContent:
    """Write an encrypted backup of a node, whole or not at all.

    Raises:
        BadInput: ``backup_key_malformed``, ``backup_database_unsupported``; Conflict:
            ``backup_exists``, ``backup_damaged`` (the snapshot fails SQLite's own check);
            Unavailable: ``database_unavailable``.
    """
    keys = [recipient_of(text) for text in recipients]
    if out.exists():
        raise Conflict(
            "backup_exists",
            f"{out} exists; a backup is never overwritten.",
            hint="Choose another file.",
        )
    database = _database_file(config)
    config.data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=config.data, prefix="backup-") as temporary:
        snapshot = Path(temporary) / "node.db"
        progress("taking a snapshot of the database")
        _snapshot(database, snapshot)
        progress(f"checking the snapshot ({snapshot.stat().st_size / 1e6:,.1f} MB)")
        schema, log_size, log_root = log_of(snapshot)
        files = {**_node_files(config), DATABASE: snapshot}
        digests = {name: sha256_of(path) for name, path in files.items()}
        content = BackupContent(
            config.member, int(time.time()), schema, log_size, log_root, digests
        )
        progress("encrypting")
        partial = out.with_name(out.name + ".part")
        try:
            write_archive(partial, content, files, keys)
            os.replace(partial, out)
        finally:
            partial.unlink(missing_ok=True)
    return content


def restore(
    source: Path, identity_file: Path, directory: Path, progress: Progress
) -> BackupContent:
    """Restore a node from a backup into a new directory, completely or not at all.

    Every file is compared with the manifest, the database is checked and the root of its evidence
    log is computed again from its entries before the directory appears.

    Raises:
        BadInput: ``backup_malformed``, ``backup_key_malformed``, ``backup_key_wrong``,
            ``backup_missing``; Conflict: ``directory_exists``, ``backup_damaged``,
            ``database_newer``.
    """
    directory = directory.resolve()
    if directory.exists() and any(directory.iterdir()):
        raise Conflict(
            "directory_exists",
            f"{directory} is not empty; a node is restored into a directory of its own.",
            hint="Name a new directory.",
        )
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".restore-") as temporary:
        home = Path(temporary) / "node"
        content = extract(source, identity_file, home, progress)
        _place_database(home, content)
        if directory.exists():
            directory.rmdir()
        os.replace(home, directory)
    return content


def check(source: Path, identity_file: Path, progress: Progress) -> BackupContent:
    """Open a backup and verify all of it without writing anything; raises what ``restore`` does."""
    with tempfile.TemporaryDirectory(prefix="qiaolian-check-") as temporary:
        return extract(source, identity_file, Path(temporary) / "node", progress)


# --- What goes in ---------------------------------------------------------------------------------


def _database_file(config: NodeConfig) -> Path:
    if not config.database_url.startswith(_SQLITE):
        raise BadInput(
            "backup_database_unsupported",
            "This command takes snapshots of SQLite; the node's database is another.",
            hint="Back it up with its own tool (PostgreSQL: "
            "pg_dump), and copy the node's directory.",
        )
    path = Path(config.database_url.removeprefix(_SQLITE))
    if not path.is_file():
        raise BadInput(
            "backup_missing",
            f"There is no database at {path}.",
            hint="Has the node ever been started?",
        )
    return path


def _node_files(config: NodeConfig) -> dict[str, Path]:
    """Map paths within the archive to files; a file outside the directory is archived
    by its name.
    """
    keys = config.path(config.keys.dir)
    files = {
        CONFIG_FILE: config.home / CONFIG_FILE,
        "access.json": config.path(config.access.tokens),
        "deployment.json": config.path(config.chain.deployment),
    }
    if (config.home / ADMISSION_FILE).is_file():
        files[ADMISSION_FILE] = config.home / ADMISSION_FILE
    files |= {f"keys/{path.name}": path for path in sorted(keys.iterdir()) if path.is_file()}
    files |= {
        f"data/uploads/{path.parent.name}/{path.name}": path
        for path in sorted((config.data / "uploads").glob("upload-*/*"))
        if path.parent.suffix != ".partial" and path.is_file()
    }
    for name, path in files.items():
        if not path.is_file():
            raise BadInput(
                "backup_missing", f"The node's {name} is not at {path}.", hint="Correct node.toml."
            )
    return files


def _snapshot(database: Path, snapshot: Path) -> None:
    try:
        with closing(sqlite3.connect(database, timeout=30)) as connection:
            connection.execute("VACUUM INTO ?", (str(snapshot),))
    except sqlite3.Error as error:
        raise Unavailable(
            "database_unavailable",
            f"The database could not be copied: {error}.",
            hint="The data directory needs free space for a second copy of the database.",
        ) from error
    snapshot.chmod(0o600)


# --- The archive ----------------------------------------------------------------------------------


def _place_database(home: Path, content: BackupContent) -> None:
    """Move the snapshot to where the restored configuration looks for it."""
    config = load(home / CONFIG_FILE)
    if config.member != content.member:
        raise damaged("The configuration in the backup is another organisation's.")
    target = Path(config.database_url.removeprefix(_SQLITE))
    if not target.is_relative_to(home.resolve()):
        # An absolute path of the old machine: the database stays at its path in the archive.
        return
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.move(home / DATABASE, target)
    (home / DATABASE).parent.rmdir()


def paths_outside(directory: Path) -> list[str]:
    """Settings of a restored configuration that name files outside its directory."""
    config = load(directory / CONFIG_FILE)
    home = config.home.resolve()
    paths = {
        "database": Path(config.database_url.removeprefix(_SQLITE)),
        "data_dir": config.data,
        "keys.dir": config.path(config.keys.dir),
        "access.tokens": config.path(config.access.tokens),
        "chain.deployment": config.path(config.chain.deployment),
    }
    if config.keys.passphrase_file is not None:
        paths["keys.passphrase_file"] = config.path(config.keys.passphrase_file)
    return [name for name, path in paths.items() if not path.is_relative_to(home)]


# --- Keys and errors ------------------------------------------------------------------------------


__all__ = ["BackupContent", "backup", "check", "create_key", "paths_outside", "restore"]
