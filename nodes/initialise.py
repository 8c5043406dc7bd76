"""``qiaolian node init``: a node's directory with its keys, configuration, access tokens and the
public record to be admitted with.

The node's own keys (transactions, statements, tokens, log, TLS) rest encrypted in its key store.
The chief data officer's approval key and the administration key belong to persons: they go to files
of their own, outside the node's directory, under passphrases of their own, and the node never opens
them.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from chain.core.errors import BadInput, Conflict, NotFound
from chain.keys.files import (
    KeyStore,
    create_person_key,
    tls_certificate,
    tls_fingerprint,
    write_private,
)
from chain.keys.keystore import RANDOM
from chain.keys.passphrase import read_passphrase
from chain.statements.members import Algorithm, KeyPurpose, Role
from nodes import access
from nodes.config import ROLE_NAMES, UNSEALED_TEST, NodeConfig, load, parse
from registry import uscc
from registry.members.rules import MAX_NAME_LENGTH
from registry.text import is_plain

CONFIG_FILE = "node.toml"
ADMISSION_FILE = "admission.json"
HANDOUT_FILE = "handout.json"
CERTIFICATE_FILE = "tls.crt.pem"
PUBLIC_FILE = "public.json"

NODE_KEYS = {
    KeyPurpose.TRANSACTION: ("transaction", Algorithm.SECP256K1),
    KeyPurpose.STATEMENT: ("statement", Algorithm.SECP256K1),
    KeyPurpose.TOKEN: ("token", Algorithm.SECP256K1),
    KeyPurpose.LOG: ("log", Algorithm.ED25519),
    KeyPurpose.TLS: ("tls", Algorithm.P256),
}
"""Name in the key store and algorithm of each key the node itself holds."""


@dataclass(frozen=True)
class KeyEntry:
    """A public key as the directory records it."""

    fingerprint: bytes
    purpose: KeyPurpose
    algorithm: Algorithm

    def to_json(self) -> dict[str, Any]:
        """The entry in an admission file."""
        return {
            "fingerprint": "0x" + self.fingerprint.hex(),
            "purpose": int(self.purpose),
            "algorithm": int(self.algorithm),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> KeyEntry:
        """Read an admission file's entry."""
        return cls(
            bytes.fromhex(value["fingerprint"][2:]),
            KeyPurpose(value["purpose"]),
            Algorithm(value["algorithm"]),
        )

    def to_contract(self) -> tuple[bytes, int, int]:
        """The tuple ``MemberDirectory`` takes."""
        return (self.fingerprint, int(self.purpose), int(self.algorithm))

    @property
    def address(self) -> str:
        """The address of a secp256k1 key."""
        return "0x" + self.fingerprint[12:].hex()


@dataclass(frozen=True)
class Admission:
    """A member's admission: member id, name, roles and public keys, for two governors
    to approve.
    """

    member: str
    name: str
    roles: Role
    keys: tuple[KeyEntry, ...]

    def to_json(self) -> dict[str, Any]:
        """The file's content."""
        keys = [key.to_json() for key in self.keys]
        return {"member": self.member, "name": self.name, "roles": int(self.roles), "keys": keys}

    @classmethod
    def load(cls, path: Path) -> Admission:
        """Read ``admission.json``, or ``admission_malformed``."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            keys = tuple(map(KeyEntry.from_json, value["keys"]))
            return cls(str(value["member"]), str(value["name"]), Role(value["roles"]), keys)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput("admission_malformed", f"{path} is not an admission file.") from error

    def key(self, purpose: KeyPurpose) -> KeyEntry:
        """The entry of that purpose, or ``key_missing``."""
        for key in self.keys:
            if key.purpose == purpose:
                return key
        raise NotFound("key_missing", f"The admission has no {purpose.name.lower()} key.")


@dataclass(frozen=True)
class NodePlan:
    """The node to create."""

    directory: Path
    member: str
    name: str
    roles: tuple[str, ...]
    host: str = "127.0.0.1"
    port: int = 8443
    rpc: tuple[str, ...] = ("http://127.0.0.1:8545",)
    finality: tuple[str, ...] | str = UNSEALED_TEST
    deployment: str = "deployment.json"
    officer_key: Path | None = None
    admin_key: Path | None = None
    passphrase_file: Path | None = None
    """Where the key store's passphrase is, or is made where there is none; ``passphrase`` in the
    directory if not given.
    """
    officer_passphrase: str | None = None
    admin_passphrase: str | None = None
    """Without one a random passphrase is left beside the key, for tests and demonstrations."""
    console_port: int | None = None
    """Where the console listens, on the API's host; none without it."""
    extra_tables: dict[str, Any] = field(default_factory=dict)
    """Further configuration, merged table by table, such as ``peers`` and ``sources``."""


def initialise(plan: NodePlan) -> Admission:
    """Create a node's directory.

    Raises:
        BadInput: ``key_passphrase_missing``, ``role_unknown``, ``name_malformed``, or what is wrong
            with the member id (``wrong_check_character``).
        Conflict: ``node_exists`` when the directory holds a node already; ``directory_in_use`` when
            it holds files of the same names; ``key_exists`` for an officer's or administrator's key
            file.
    """
    uscc.require_valid(plan.member)
    if not is_plain(plan.name, limit=MAX_NAME_LENGTH):
        raise BadInput(
            "name_malformed",
            f"An organisation's name has 1 to {MAX_NAME_LENGTH} "
            "visible characters in normal form C.",
        )
    for role in plan.roles:
        if role not in ROLE_NAMES:
            raise BadInput(
                "role_unknown",
                f"There is no role {role}.",
                hint=f"Known are {', '.join(ROLE_NAMES)}.",
            )
    directory = plan.directory.resolve()
    if (directory / CONFIG_FILE).exists():
        raise Conflict(
            "node_exists", f"{directory} holds a node already.", hint="Choose another directory."
        )
    for path in (plan.officer_key, plan.admin_key):
        if path is not None and path.exists():
            raise Conflict(
                "key_exists",
                f"{path} exists; a key is never overwritten.",
                hint="Choose another file.",
            )
    directory.parent.mkdir(parents=True, exist_ok=True)
    # Built beside it and moved to its path, so that a failure leaves no partial node.
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".node-init-") as temporary:
        home = Path(temporary) / "node"
        entries = _create_node(plan, home)
        _require_no_collision(home, directory)
        entries += _person_keys(plan)
        admission = Admission(plan.member, plan.name, _roles(plan), tuple(entries))
        write_private(home / ADMISSION_FILE, _json(admission.to_json()))
        _move_into(home, directory)
    return admission


def _create_node(plan: NodePlan, home: Path) -> list[KeyEntry]:
    """Everything of a node but its admission file, in a new directory; its own keys' entries."""
    home.mkdir(mode=0o700)
    (home / "data").mkdir()
    entries = _node_keys(_key_store(plan, home), plan.member)
    write_private(
        home / "keys" / PUBLIC_FILE, _json({"keys": [entry.to_json() for entry in entries]})
    )
    tokens = access.create(home / "access.json")
    write_private(home / HANDOUT_FILE, _json(tokens))
    write_private(home / CONFIG_FILE, tomli_w.dumps(_config(plan)).encode())
    return entries


def _require_no_collision(home: Path, directory: Path) -> None:
    taken = sorted(path.name for path in home.iterdir() if (directory / path.name).exists())
    if taken:
        raise Conflict(
            "directory_in_use",
            f"{directory} holds {taken[0]} already, without being a node.",
            hint="Choose another directory, or move what is there away.",
        )


def _move_into(home: Path, directory: Path) -> None:
    """Move the node to its directory: in one rename if there is none, else the
    configuration last.
    """
    if not directory.exists():
        os.replace(home, directory)
        return
    directory.chmod(0o700)
    for path in sorted(home.iterdir(), key=lambda path: path.name == CONFIG_FILE):
        os.replace(path, directory / path.name)


def _roles(plan: NodePlan) -> Role:
    roles = Role(0)
    for name in plan.roles:
        roles |= ROLE_NAMES[name]
    return roles


def write_config(plan: NodePlan) -> None:
    """Write the plan's configuration file, replacing a former one whole."""
    write_private(plan.directory.resolve() / CONFIG_FILE, tomli_w.dumps(_config(plan)).encode())


def peer_entry(admission: Admission, url: str) -> dict[str, str]:
    """How a configuration names another member's node: where it is and the keys it is known by."""
    tls, log = (
        admission.key(purpose).fingerprint.hex() for purpose in (KeyPurpose.TLS, KeyPurpose.LOG)
    )
    return {"url": url, "tls": "0x" + tls, "log": "0x" + log}


def add_peer(file: Path, admission: Admission, url: str) -> None:
    """Add another member's node to a configuration file, whose own text stays as it is. Takes
    effect at the node's next start.

    Raises:
        Conflict: ``peer_known``; BadInput: ``peer_self``, and what reading a configuration raises
            (``config_invalid`` for the address).
    """
    config = load(file)
    if admission.member == config.member:
        raise BadInput("peer_self", "A node is no peer of itself.")
    if admission.member in config.peers:
        raise Conflict(
            "peer_known",
            f"The configuration names the node of {admission.member} already.",
            hint="Change it there.",
        )
    text = (
        file.read_text(encoding="utf-8").rstrip("\n")
        + "\n"
        + tomli_w.dumps({"peers": {admission.member: peer_entry(admission, url)}})
    )
    parse(tomllib.loads(text), home=file.resolve().parent)
    write_private(file, text.encode())


def renew_tokens(config: NodeConfig) -> Path:
    """Make a fresh access token for every holder; the old ones end at the node's next start. The
    file with the new ones in clear, by name.
    """
    handout = config.home / HANDOUT_FILE
    write_private(handout, _json(access.renew(config.path(config.access.tokens))))
    return handout


def public_keys(keys_dir: Path) -> dict[KeyPurpose, KeyEntry]:
    """The public side of the keys a node uses, readable without its passphrase."""
    return {key.purpose: key for key in read_public(keys_dir, "keys").values()}


def read_public(keys_dir: Path, part: str) -> dict[str, KeyEntry]:
    """Public records by name in the key store: of the ``keys`` in use, those ``next`` or those
    ``replaced``; ``keys_missing``.
    """
    try:
        value = json.loads((keys_dir / PUBLIC_FILE).read_text(encoding="utf-8"))
        entries = [KeyEntry.from_json(item) for item in value.get(part, [])]
        names = [
            str(item.get("name") or NODE_KEYS[entry.purpose][0])
            for item, entry in zip(value.get(part, []), entries, strict=True)
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            "keys_missing",
            f"{keys_dir} holds no key store of a node.",
            hint="Run: qiaolian node init",
        ) from error
    return dict(zip(names, entries, strict=True))


def _key_store(plan: NodePlan, home: Path) -> KeyStore:
    """An empty key store under the passphrase that the plan's file holds, else under a random one
    that is written there.
    """
    file = plan.passphrase_file or home / "passphrase"
    if file.exists():
        return KeyStore(home / "keys", read_passphrase(file))
    passphrase = secrets.token_urlsafe(32)
    write_private(file, passphrase.encode() + b"\n")
    return KeyStore(home / "keys", passphrase, cost=RANDOM)


def _node_keys(store: KeyStore, member: str) -> list[KeyEntry]:
    entries: list[KeyEntry] = []
    for purpose, (key, algorithm) in NODE_KEYS.items():
        store.create(key, algorithm)
        if algorithm == Algorithm.SECP256K1:
            fingerprint = store.secp256k1(key).fingerprint
        elif algorithm == Algorithm.ED25519:
            fingerprint = store.ed25519(key).fingerprint
        else:
            private = store.p256(key)
            # The code, not the name: a certificate's names are limited to 64 bytes.
            write_private(store.directory / CERTIFICATE_FILE, tls_certificate(private, member))
            fingerprint = tls_fingerprint(private.public_key())
        entries.append(KeyEntry(fingerprint, purpose, algorithm))
    return entries


def _person_keys(plan: NodePlan) -> list[KeyEntry]:
    entries = []
    for path, passphrase, purpose in (
        (plan.officer_key, plan.officer_passphrase, KeyPurpose.APPROVAL),
        (plan.admin_key, plan.admin_passphrase, KeyPurpose.ADMIN),
    ):
        if path is not None:
            entries.append(
                KeyEntry(
                    create_person_key(path, passphrase).fingerprint, purpose, Algorithm.SECP256K1
                )
            )
    return entries


def _config(plan: NodePlan) -> dict[str, Any]:
    finality = plan.finality if isinstance(plan.finality, str) else list(plan.finality)
    value: dict[str, Any] = {
        "member": plan.member,
        "name": plan.name,
        "roles": list(plan.roles),
        "data_dir": "data",
        "database": "sqlite:///data/node.db",
        "listen": {"host": plan.host, "port": plan.port},
        "keys": {
            "dir": "keys",
            "passphrase_file": str(plan.passphrase_file.resolve())
            if plan.passphrase_file
            else "passphrase",
        },
        "chain": {"deployment": plan.deployment, "rpc": list(plan.rpc), "finality": finality},
        "access": {"tokens": "access.json"},
    }
    if plan.console_port is not None:
        value["console"] = {"host": plan.host, "port": plan.console_port}
    for table, content in plan.extra_tables.items():
        both = isinstance(content, dict) and isinstance(value.get(table), dict)
        value[table] = {**value[table], **content} if both else content
    return value


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"
