"""A node's configuration: one TOML file, read strictly.

An unknown key is an error that names it, so that a misspelt setting is not silently
ignored. Paths are relative to the file's own directory, so a node's
directory can be moved as a whole.
"""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from chain.core.crypto import is_address
from chain.core.errors import BadInput
from chain.core.loopback import is_loopback
from chain.statements.members import Role
from exchange.metering.model import MAX_ANSWER_BYTES, MIN_BODY_BYTES

UNSEALED_TEST = "unsealed-test"
"""Finality setting for a throw-away chain without validators (anvil). Honest about what it gives
up.
"""

ROLE_NAMES = {role.name.lower(): role for role in Role if role.name is not None}
"""Configuration name of every role, e.g. ``settlement_bank``."""

_SOURCE_SCHEMES = ("csv", "parquet")

MemberText = Annotated[str, Field(pattern=r"^[0-9A-Z]{18}$")]
Fingerprint = Annotated[str, Field(pattern=r"^0x[0-9a-f]{64}$")]
Port = Annotated[int, Field(ge=0, le=65535)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Listen(_Strict):
    """Where the API listens; loopback unless the operator says otherwise."""

    host: str = "127.0.0.1"
    port: Port = 8443


class Keys(_Strict):
    """The node's own keys and where their passphrase comes from: a file (0600) or an environment
    variable.
    """

    dir: Path = Path("keys")
    passphrase_file: Path | None = None
    passphrase_env: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Keys:
        if (self.passphrase_file is None) == (self.passphrase_env is None):
            raise ValueError("give exactly one of passphrase_file and passphrase_env")
        return self


def _validator_addresses(given: tuple[str, ...]) -> tuple[str, ...]:
    lowered = tuple(address.lower() for address in given)
    if not lowered or not all(map(is_address, lowered)):
        raise ValueError("list the validators' 0x addresses, or say unsealed-test")
    return lowered


class ValidatorChange(_Strict):
    """The validators that seal from a height on, after a vote (``qiaolian network status`` names
    the block).
    """

    from_height: int = Field(gt=0)
    validators: tuple[str, ...]

    @field_validator("validators")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _validator_addresses(value)


class Chain(_Strict):
    """Which network, through which chain nodes, and whose seals make a block final."""

    deployment: Path = Path("deployment.json")
    rpc: tuple[str, ...] = Field(min_length=1)
    finality: Literal["unsealed-test"] | tuple[str, ...]
    """The validators' addresses, or ``unsealed-test``."""
    validator_changes: tuple[ValidatorChange, ...] = ()
    """Later sets of validators, by ascending height; ``finality`` holds the first."""
    stale_seconds: float = Field(default=15.0, gt=0, le=600)
    """A chain view older than this allows nothing."""

    @field_validator("finality")
    @classmethod
    def _addresses(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(value, tuple):
            return _validator_addresses(value)
        return value

    @field_validator("validator_changes")
    @classmethod
    def _ascending(cls, value: tuple[ValidatorChange, ...]) -> tuple[ValidatorChange, ...]:
        heights = [change.from_height for change in value]
        if heights != sorted(set(heights)):
            raise ValueError("list the changes by ascending from_height")
        return value

    def validators_at(self, height: int) -> tuple[str, ...]:
        """The validators that seal a height; none on a throw-away chain."""
        found = () if isinstance(self.finality, str) else self.finality
        for change in self.validator_changes:
            if change.from_height <= height:
                found = change.validators
        return found


class Peer(_Strict):
    """Another member's node. ``tls`` pins its certificate key (SHA-256 of the public key info, as
    in the directory).
    """

    url: str = Field(pattern=r"^https://[^/\s]+$")
    tls: Fingerprint | None = None
    log: Fingerprint | None = None
    """The public key of the member's evidence log, for those who check or cosign it."""


class SourceEntry(_Strict):
    """A source of records: ``csv:///file``, ``parquet:///file`` or any SQLAlchemy URL with
    ``table``; ``key`` names the lookup column.
    """

    url: str
    key: str = Field(min_length=1)
    table: str | None = None
    encoding: str = "utf-8"
    delimiter: str = Field(default=",", min_length=1, max_length=1)

    @model_validator(mode="after")
    def _table_for_sql(self) -> SourceEntry:
        scheme = self.url.partition(":")[0]
        if (scheme in _SOURCE_SCHEMES) == (self.table is not None):
            raise ValueError("a SQL source names its table; a CSV or Parquet source has none")
        return self


class Access(_Strict):
    """Bearer tokens of the organisation's own systems and people."""

    tokens: Path = Path("access.json")


class NodeLimits(_Strict):
    """Limits of requests."""

    body_bytes: int = Field(default=10_000_000, ge=MIN_BODY_BYTES)
    """Not below what one exchange of calls may take, or a peer's calls would not pass."""
    answer_bytes: int = Field(default=4_000_000, ge=1_000, le=MAX_ANSWER_BYTES)
    """Largest answer of a metered call: a larger one is refused unbilled."""
    unknown_subjects: int = Field(default=100, ge=1, le=1_000_000)
    """Refusals with ``subject_unknown`` under one grant within ``unknown_subjects_seconds``."""
    unknown_subjects_seconds: int = Field(default=86_400, ge=60)
    upload_bytes: int = Field(default=33_554_432, ge=1_000)
    """Largest file that a person uploads in the console; larger ones are configured as sources."""
    statement_bytes: int = Field(default=262_144, ge=1_000)
    """Largest body at the routes that do not take many items at once."""
    stranger_bytes: int = Field(default=65_536, ge=1_000)
    """Largest body of a caller without a token, at the routes that are open to one."""
    bodies_bytes: int = Field(default=67_108_864, ge=1_000)
    """All bodies in memory at a time; one caller may hold a quarter."""
    head_bytes: int = Field(default=32_768, ge=1_000)
    handshake_seconds: float = Field(default=5.0, gt=0, le=600)
    head_seconds: float = Field(default=10.0, gt=0, le=600)
    request_seconds: float = Field(default=60.0, gt=0, le=3_600)
    """A request's body must be here within this time of its head."""
    write_seconds: float = Field(default=60.0, gt=0, le=3_600)
    """A client that reads nothing of its response for so long is cut off."""
    connections_per_address: int = Field(default=128, ge=1)
    """Connections of one address that have shown no accepted token."""
    connections_per_caller: int = Field(default=512, ge=1)
    """Connections of one other member, or of one access token, that have shown it."""
    stranger_connections: int = Field(default=512, ge=1)
    """The same of all addresses; the oldest is closed for a further one."""
    stranger_requests_per_second: float = Field(default=100.0, gt=0)
    """Requests of one address without an accepted token."""
    stranger_requests_burst: int = Field(default=500, ge=1)
    member_requests_per_second: float = Field(default=2_000.0, gt=0)
    """Requests of one other member's node."""
    peer_timeout_seconds: float = Field(default=20.0, gt=0)
    free_disk_bytes: int = Field(default=64_000_000, ge=0)
    """``/readyz`` reports the disk when less is free."""
    outbox_lag_seconds: float = Field(default=120.0, gt=0)
    """``/readyz`` reports the outbox when a call has waited longer for its block."""


class WorkerSettings(_Strict):
    """Background work of ``node run``, and the shortest pauses between its rounds in seconds."""

    projector: bool = True
    evidence: bool = True
    claims: bool = True
    """Claim what this organisation earned as provider, by value, by age and at once when an
    agreement ends.
    """
    witness: bool | None = None
    """Cosign other members' logs; by default on a supervisor only."""
    certificate: bool = True
    """Renew the node's own TLS certificate in time; a replaced file is taken up either way."""
    certificate_seconds: float = Field(default=10.0, gt=0, le=3_600)
    peer_seconds: float = Field(default=30.0, gt=0, le=3_600)
    """Pause between two looks at the other members' nodes."""
    projector_seconds: float = Field(default=0.25, gt=0)
    checkpoint_seconds: float = Field(default=2.0, gt=0, le=5)
    anchor_seconds: float = Field(default=20.0, gt=0, le=60)
    witness_seconds: float = Field(default=2.0, gt=0)
    source_seconds: float = Field(default=15.0, gt=0, le=600)
    """Pause between two checks of a source."""
    claim_seconds: float = Field(default=0.5, gt=0, le=10)
    claim_min_fen: int = Field(default=10_000, ge=1)
    """Claim once an agreement owes so much."""
    claim_max_age_seconds: int = Field(default=3_600, ge=1)
    """Claim once an acknowledged call is so old."""


class Disputes(_Strict):
    """What the node does by itself in disputes over metered calls."""

    contest_stake_fen: int | None = Field(default=None, ge=0)
    """As buyer, contest a wrong receipt up to this stake without a person; without a value up to
    what the call costs.
    """


class Webhooks(_Strict):
    """Where deliveries to the organisation's own systems may go."""

    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    """Networks besides public addresses, such as ``10.20.0.0/16``; nothing inner without them."""
    authorities: Path | None = None
    """Certificates of the organisation's own authority (PEM), besides the machine's."""
    seconds: float = Field(default=1.0, gt=0, le=60)
    """Shortest pause between two rounds of deliveries."""


class Clearing(_Strict):
    """The network's account at the settlement bank, at the nodes that handle its files, and when
    the operator closes a day.
    """

    account: str = Field(default="", pattern=r"^[0-9A-Z]{0,34}$")
    """IBAN or the bank's own number. Where it is set, deposits are confirmed by bank file alone."""
    account_name: str = Field(default="", max_length=70)
    bank_code: str = Field(default="", pattern=r"^([0-9]{12})?$")
    """The bank's number in the national clearing system (CNAPS)."""
    closes_from: str = Field(default="", pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9])?$")
    """Time of day such as ``17:30`` from which a day may be closed; what moves later belongs to the
    next day. Empty: once the day is over.
    """

    @model_validator(mode="after")
    def _whole(self) -> Clearing:
        given = [bool(text) for text in (self.account, self.account_name, self.bank_code)]
        if any(given) and not all(given):
            raise ValueError("account, account_name and bank_code are given together")
        return self


class OpenId(_Strict):
    """The organisation's OpenID provider, at which its people log in to the console."""

    issuer: str = Field(pattern=r"^https?://[^\s?#]+$")
    client_id: str = Field(min_length=1)
    client_secret_file: Path
    scopes: tuple[str, ...] = ("openid", "profile")
    groups_claim: str = "groups"
    roles: dict[str, Literal["chief_data_officer", "clerk", "modeller", "auditor"]]
    """Role of a person by group; nobody becomes administrator this way."""

    @model_validator(mode="after")
    def _tls(self) -> OpenId:
        address = urlsplit(self.issuer)
        if address.scheme != "https" and not is_loopback(address.hostname or ""):
            raise ValueError("the issuer's address needs TLS")
        return self


class Console(_Strict):
    """The console for the organisation's people; served where the table is present."""

    host: str = "127.0.0.1"
    port: Port = 8444
    plain_http: bool = False
    """HTTP instead of TLS with the node's certificate; on a loopback address only."""
    language: Literal["zh-CN", "en"] = "zh-CN"
    """For browsers that ask for no language."""
    session_idle_seconds: int = Field(default=1_800, ge=60, le=86_400)
    session_seconds: int = Field(default=43_200, ge=60, le=604_800)
    two_persons: tuple[str, ...] = ()
    """Actions that one person proposes and another confirms, such as ``grant.approve``."""
    links_log_in: bool = False
    """A one-time link logs in by itself, without a password: for a demo, with ``plain_http``."""
    openid: OpenId | None = None
    subjects: bool = True
    """Whether firms and citizens may log in with a certified key, each to its own records."""

    @model_validator(mode="after")
    def _links_in_a_demo(self) -> Console:
        if self.links_log_in and not self.plain_http:
            raise ValueError("links_log_in is for a demo on loopback, with plain_http")
        return self

    @model_validator(mode="after")
    def _plain_on_loopback(self) -> Console:
        if self.plain_http and not is_loopback(self.host):
            raise ValueError(
                "plain_http is for a loopback address; elsewhere the console needs TLS"
            )
        return self


class NodeConfig(_Strict):
    """A node's configuration. ``home`` is the directory of its file."""

    member: MemberText
    name: str = Field(min_length=1, max_length=200)
    roles: tuple[str, ...] = Field(min_length=1)
    data_dir: Path = Path("data")
    database: str = "sqlite:///data/node.db"
    listen: Listen = Listen()
    keys: Keys
    chain: Chain
    peers: dict[MemberText, Peer] = {}
    sources: dict[str, SourceEntry] = {}
    access: Access = Access()
    limits: NodeLimits = NodeLimits()
    workers: WorkerSettings = WorkerSettings()
    console: Console | None = None
    webhooks: Webhooks = Webhooks()
    disputes: Disputes = Disputes()
    clearing: Clearing = Clearing()
    home: Path = Field(default=Path("."), exclude=True)

    @field_validator("roles")
    @classmethod
    def _known_roles(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in value if name not in ROLE_NAMES]
        if unknown:
            raise ValueError(f"unknown role {unknown[0]}; known are {', '.join(ROLE_NAMES)}")
        return value

    @field_validator("sources")
    @classmethod
    def _source_names(cls, value: dict[str, SourceEntry]) -> dict[str, SourceEntry]:
        for name in value:
            if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", name) is None:
                raise ValueError(f"source name {name!r} is not lowercase letters, digits, - and _")
            if name.startswith("upload-"):
                raise ValueError(f"source name {name!r}: names of uploaded files begin like this")
        return value

    @property
    def role(self) -> Role:
        """The roles as a flag."""
        combined = Role(0)
        for role in self.roles:
            combined |= ROLE_NAMES[role]
        return combined

    @property
    def data(self) -> Path:
        """The data directory, absolute."""
        return self.path(self.data_dir)

    @property
    def database_url(self) -> str:
        """The database URL with a relative SQLite path made absolute."""
        prefix = "sqlite:///"
        if self.database.startswith(prefix) and not self.database.startswith(prefix + "/"):
            return prefix + str(self.path(Path(self.database.removeprefix(prefix))))
        return self.database

    @property
    def witnesses(self) -> bool:
        """Whether this node cosigns other members' logs."""
        return (
            bool(self.role & Role.SUPERVISOR)
            if self.workers.witness is None
            else self.workers.witness
        )

    def path(self, relative: Path) -> Path:
        """A configured path, absolute."""
        return (self.home / relative).resolve()

    def passphrase(self) -> str:
        """The key store's passphrase.

        Raises:
            BadInput: ``passphrase_missing``.
        """
        if self.keys.passphrase_env is not None:
            value = os.environ.get(self.keys.passphrase_env, "")
            where = f"environment variable {self.keys.passphrase_env}"
        else:
            assert self.keys.passphrase_file is not None
            path = self.path(self.keys.passphrase_file)
            where = str(path)
            try:
                value = path.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError):
                value = ""
        if not value:
            raise BadInput(
                "passphrase_missing",
                "The key store's passphrase could not be read.",
                hint=f"Put it into {where}.",
            )
        return value


def load(path: str | Path) -> NodeConfig:
    """Read a configuration file.

    Raises:
        BadInput: ``config_missing``, ``config_malformed`` (not TOML), ``config_unknown_key``,
            ``config_invalid``; the sentence names the key.
    """
    file = Path(path).resolve()
    try:
        value = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(
            "config_missing",
            f"There is no configuration file at {file}.",
            hint="Run: qiaolian node init",
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadInput(
            "config_malformed", f"The configuration file is not TOML: {error}."
        ) from error
    return parse(value, home=file.parent)


def parse(value: dict[str, Any], *, home: Path) -> NodeConfig:
    """Check a configuration already decoded; paths are relative to ``home``."""
    if "home" in value:
        raise BadInput(
            "config_unknown_key", "The configuration has an unknown key: home.", key="home"
        )
    try:
        return NodeConfig.model_validate({**value, "home": home})
    except ValidationError as error:
        raise _translated(error) from error


def _translated(error: ValidationError) -> BadInput:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return BadInput(
            "config_unknown_key",
            f"The configuration has an unknown key: {key}.",
            hint="Remove it or correct its spelling; docs/node.md lists every key.",
            key=key,
        )
    return BadInput(
        "config_invalid",
        f"The configuration's {key or 'file'} is not valid: {first['msg']}.",
        key=key,
    )
