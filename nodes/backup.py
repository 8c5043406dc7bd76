"""``qiaolian node backup`` and ``qiaolian node restore``: a node's directory in one encrypted file.

A backup holds the configuration, the encrypted key files, the certificate, the access token hashes,
the deployment file, uploaded files and a consistent snapshot of the database. It may be made while
the node runs and under any load: the snapshot is one read transaction (SQLite ``VACUUM INTO``),
which writers neither wait for nor restart, and which leaves out the pages of deleted rows.

The file is a tar archive in age format (https://age-encryption.org/v1), encrypted to public keys,
so a scheduled backup needs no secret. Its first member is a manifest with the SHA-256 of every
other. The passphrase of the key store is never part of it: whoever has the backup and the backup
key alone cannot sign as this organisation.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyrage

from chain.core.errors import BadInput, Conflict, Unavailable
from chain.keys.files import write_private
from chain.log import merkle
from nodes.config import NodeConfig, load
from nodes.initialise import ADMISSION_FILE, CONFIG_FILE
from nodes.migrate import known_revisions

FORMAT = "qiaolian-backup/1"
MANIFEST = "manifest.json"
DATABASE = "database/node.db"
MAX_MANIFEST_BYTES = 4 << 20
CHUNK_BYTES = 1 << 20
_SQLITE = "sqlite:///"

Progress = Callable[[str], None]


@dataclass(frozen=True)
class BackupContent:
    """The contents of a backup, as listed in its manifest."""

    member: str
    made_at: int
    """Unix seconds."""
    schema: str
    """The database's schema revision."""
    log_size: int
    """Entries of the evidence log."""
    log_root: bytes
    """32 bytes; the RFC 9162 root of those entries."""
    files: dict[str, str]
    """SHA-256 in hex by path within the archive."""

    def to_json(self) -> dict[str, Any]:
        """The manifest."""
        return {
            "format": FORMAT,
            "member": self.member,
            "madeAt": self.made_at,
            "schema": self.schema,
            "logSize": self.log_size,
            "logRoot": self.log_root.hex(),
            "files": self.files,
        }

    @classmethod
    def from_json(cls, data: bytes) -> BackupContent:
        """Read a manifest; ``backup_malformed``."""
        try:
            value = json.loads(data)
            if value["format"] != FORMAT:
                raise ValueError("format")
            return cls(
                member=str(value["member"]),
                made_at=int(value["madeAt"]),
                schema=str(value["schema"]),
                log_size=int(value["logSize"]),
                log_root=bytes.fromhex(value["logRoot"]),
                files={str(name): str(digest) for name, digest in value["files"].items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _malformed() from error


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
    keys = [_recipient(text) for text in recipients]
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
        schema, log_size, log_root = _examined(snapshot)
        files = {**_node_files(config), DATABASE: snapshot}
        digests = {name: _sha256(path) for name, path in files.items()}
        content = BackupContent(
            config.member, int(time.time()), schema, log_size, log_root, digests
        )
        progress("encrypting")
        partial = out.with_name(out.name + ".part")
        try:
            _write_archive(partial, content, files, keys)
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
        content = _extract(source, identity_file, home, progress)
        _place_database(home, content)
        if directory.exists():
            directory.rmdir()
        os.replace(home, directory)
    return content


def check(source: Path, identity_file: Path, progress: Progress) -> BackupContent:
    """Open a backup and verify all of it without writing anything; raises what ``restore`` does."""
    with tempfile.TemporaryDirectory(prefix="qiaolian-check-") as temporary:
        return _extract(source, identity_file, Path(temporary) / "node", progress)


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


def _examined(database: Path) -> tuple[str, int, bytes]:
    """Schema revision, size and root of the evidence log; ``backup_damaged``."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check(1)")]
            if found != ["ok"]:
                raise Conflict(
                    "backup_damaged",
                    "SQLite's check of the database found damage.",
                    hint="Look at the disk; take an older backup.",
                    finding=str(found[0])[:200],
                )
            (schema,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            frontier = merkle.Frontier()
            query = "SELECT leaf FROM evidence_entry ORDER BY entry_index"
            for (leaf,) in connection.execute(query):
                for _ in frontier.append(merkle.leaf_hash(leaf)):
                    pass
    except (sqlite3.Error, TypeError) as error:
        raise Conflict(
            "backup_damaged",
            f"The database cannot be read: {error}.",
            hint="Look at the disk; take an older backup.",
        ) from error
    return str(schema), frontier.size, frontier.root()


# --- The archive ----------------------------------------------------------------------------------


def _write_archive(
    path: Path,
    content: BackupContent,
    files: dict[str, Path],
    keys: Sequence[pyrage.x25519.Recipient],
) -> None:
    def produce(stream: io.BufferedWriter) -> None:
        with tarfile.open(fileobj=stream, mode="w|", bufsize=CHUNK_BYTES) as archive:
            manifest = json.dumps(content.to_json(), indent=1).encode()
            _add(archive, MANIFEST, io.BytesIO(manifest), len(manifest))
            for name, file in files.items():
                with file.open("rb") as data:
                    _add(archive, name, data, file.stat().st_size)

    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out, _piped(produce) as plain:
        pyrage.encrypt_io(plain, out, list(keys))
        out.flush()
        os.fsync(out.fileno())


def _add(archive: tarfile.TarFile, name: str, data: IO[bytes], size: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    archive.addfile(entry, data)


@contextmanager
def _piped(produce: Callable[[io.BufferedWriter], None]) -> Iterator[io.BufferedReader]:
    """A stream to read what ``produce`` writes in a thread; its error is raised at the end."""
    reader, writer = os.pipe()
    failure: list[BaseException] = []

    def run() -> None:
        try:
            with os.fdopen(writer, "wb") as stream:
                produce(stream)
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="backup-writer")
    thread.start()
    try:
        with os.fdopen(reader, "rb") as stream:
            yield stream
    finally:
        thread.join()
    if failure:
        raise failure[0]


def _extract(source: Path, identity_file: Path, home: Path, progress: Progress) -> BackupContent:
    identity = _identity(identity_file)
    if not source.is_file():
        raise BadInput("backup_missing", f"There is no backup at {source}.")
    home.mkdir(mode=0o700)

    def decrypt(stream: io.BufferedWriter) -> None:
        with source.open("rb") as data:
            try:
                pyrage.decrypt_io(data, stream, [identity])
            except (pyrage.DecryptError, OSError) as error:
                raise _not_opened(error) from error

    progress("decrypting")
    failure: Exception | None = None
    content: BackupContent | None = None
    try:
        with _piped(decrypt) as plain:
            try:
                content = _unpack(plain, home)
            except (tarfile.TarError, EOFError, OSError) as error:
                failure = error
            while plain.read(CHUNK_BYTES):
                pass
    except BrokenPipeError as error:
        failure = error
    if failure is not None or content is None:
        raise _malformed() from failure
    progress("checking the database")
    examined = _examined(home / DATABASE)
    if examined != (content.schema, content.log_size, content.log_root):
        raise _damaged("The database is not the one the manifest describes.")
    if content.schema not in known_revisions():
        raise Conflict(
            "database_newer",
            f"The backup's database is at schema {content.schema}, unknown to this program.",
            hint="Restore it with the version that made it, or a newer one.",
        )
    return content


def _unpack(plain: IO[bytes], home: Path) -> BackupContent:
    content: BackupContent | None = None
    found: dict[str, str] = {}
    with tarfile.open(fileobj=plain, mode="r|", bufsize=CHUNK_BYTES) as archive:
        for entry in archive:
            data = archive.extractfile(entry)
            if not entry.isreg() or data is None:
                raise _malformed()
            if content is None:
                if entry.name != MANIFEST or entry.size > MAX_MANIFEST_BYTES:
                    raise _malformed()
                content = BackupContent.from_json(data.read())
                continue
            if entry.name not in content.files or entry.name in found:
                raise _damaged(
                    f"The backup holds {entry.name!r}, which its manifest does not name."
                )
            found[entry.name] = _store(data, home / _relative(entry.name))
    if content is None:
        raise _malformed()
    if found != content.files:
        raise _damaged("A file in the backup is missing or differs from its manifest.")
    return content


def _relative(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise _malformed()
    return path


def _store(data: IO[bytes], path: Path) -> str:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        while chunk := data.read(CHUNK_BYTES):
            digest.update(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()


def _place_database(home: Path, content: BackupContent) -> None:
    """Move the snapshot to where the restored configuration looks for it."""
    config = load(home / CONFIG_FILE)
    if config.member != content.member:
        raise _damaged("The configuration in the backup is another organisation's.")
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


def _recipient(text: str) -> pyrage.x25519.Recipient:
    try:
        return pyrage.x25519.Recipient.from_str(text.strip())
    except pyrage.RecipientError as error:
        raise BadInput(
            "backup_key_malformed",
            "A backup is encrypted to an age public key, which begins with age1.",
            hint="Make one with: qiaolian node backup-key --out FILE",
        ) from error


def _identity(path: Path) -> pyrage.x25519.Identity:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        (secret,) = [line for line in map(str.strip, lines) if line and not line.startswith("#")]
        return pyrage.x25519.Identity.from_str(secret)
    except (OSError, UnicodeDecodeError, ValueError, pyrage.IdentityError) as error:
        raise BadInput(
            "backup_key_malformed",
            f"{path} does not hold a backup key.",
            hint="It is the file that qiaolian node backup-key made.",
        ) from error


def _not_opened(error: Exception) -> BadInput:
    if "No matching keys" in str(error):
        return BadInput(
            "backup_key_wrong",
            "The backup is encrypted to another key.",
            hint="Give the key file whose public key was named when the backup was made.",
        )
    return _malformed()


def _malformed() -> BadInput:
    return BadInput(
        "backup_malformed",
        "The file is not a whole backup of a node: it is damaged, cut short or something else.",
        hint="Take another copy of it, or an older backup.",
    )


def _damaged(sentence: str) -> Conflict:
    return Conflict("backup_damaged", sentence, hint="Take another copy of it, or an older backup.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


__all__ = ["BackupContent", "backup", "check", "create_key", "paths_outside", "restore"]
