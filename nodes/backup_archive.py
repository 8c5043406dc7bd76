"""The file of a backup: a tar archive in age format (https://age-encryption.org/v1).

Its first member is a manifest with the SHA-256 of every other.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sqlite3
import tarfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyrage

from chain.core.errors import BadInput, Conflict
from chain.log import merkle
from nodes.migrate import known_revisions

FORMAT = "qiaolian-backup/1"
DATABASE = "database/node.db"
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 4 << 20
CHUNK_BYTES = 1 << 20

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


def write_archive(
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


def extract(source: Path, identity_file: Path, home: Path, progress: Progress) -> BackupContent:
    identity = identity_in(identity_file)
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
    examined = log_of(home / DATABASE)
    if examined != (content.schema, content.log_size, content.log_root):
        raise damaged("The database is not the one the manifest describes.")
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
                raise damaged(f"The backup holds {entry.name!r}, which its manifest does not name.")
            found[entry.name] = _store(data, home / _relative(entry.name))
    if content is None:
        raise _malformed()
    if found != content.files:
        raise damaged("A file in the backup is missing or differs from its manifest.")
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


def recipient_of(text: str) -> pyrage.x25519.Recipient:
    try:
        return pyrage.x25519.Recipient.from_str(text.strip())
    except pyrage.RecipientError as error:
        raise BadInput(
            "backup_key_malformed",
            "A backup is encrypted to an age public key, which begins with age1.",
            hint="Make one with: qiaolian node backup-key --out FILE",
        ) from error


def identity_in(path: Path) -> pyrage.x25519.Identity:
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


def damaged(sentence: str) -> Conflict:
    return Conflict("backup_damaged", sentence, hint="Take another copy of it, or an older backup.")


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def log_of(database: Path) -> tuple[str, int, bytes]:
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
