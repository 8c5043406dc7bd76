"""A party's configuration: one TOML file, read strictly; paths are relative to its folder.

name = "bank"

[listen]
host = "127.0.0.1"
port = 9101

[peers.tax]
address = "127.0.0.1:9102"
certificate = "peers/tax.pem"
fingerprint = "0x…"

[sources.loans]
path = "loans.csv"
key = "code"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from federated.errors import BadInput, Conflict
from federated.numbers import DEFAULT_MISSING
from federated.sources import SourceFormat
from federated.transport import fingerprint_of

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ListenAddress(_Strict):
    """The address for peers; loopback unless the operator sets another one."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)]


class PartyPeer(_Strict):
    """Another party: its address and the key it must prove."""

    address: Annotated[str, Field(pattern=r"^[^:\s]+:\d{1,5}$")]
    certificate: Path
    fingerprint: Annotated[str, Field(pattern=r"^0x[0-9a-f]{64}$")]

    @property
    def host(self) -> str:
        """The host name or address."""
        return self.address.rsplit(":", 1)[0]

    @property
    def port(self) -> int:
        """The port."""
        return int(self.address.rsplit(":", 1)[1])


class PartySource(_Strict):
    """A table this party may bring into a job: a CSV or Parquet file, its identifier column, and
    the notation of a CSV file.
    """

    path: Path
    key: str
    encoding: Literal["auto", "utf-8", "gb18030", "gbk", "gb2312", "ascii"] = "auto"
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    missing: tuple[str, ...] = DEFAULT_MISSING
    """Cells that mean a missing value."""
    texts: tuple[str, ...] = ()
    """Columns that are text although most of their cells look like numbers."""

    @property
    def source_format(self) -> SourceFormat:
        """The notation of the file."""
        return SourceFormat(self.encoding, self.delimiter, self.missing, self.texts)


class PartyTimeouts(_Strict):
    """Timeouts in seconds: for peers to start, for a sign of life, for the next message."""

    join: Annotated[float, Field(gt=0, le=86_400)] = 120.0
    silent: Annotated[float, Field(gt=0, le=3_600)] = 15.0
    stalled: Annotated[float, Field(gt=0, le=86_400)] = 1800.0


class PartyConfig(_Strict):
    """The whole configuration."""

    name: Name
    listen: ListenAddress
    peers: Mapping[Name, PartyPeer] = {}
    sources: Mapping[str, PartySource] = {}
    limits: PartyTimeouts = PartyTimeouts()
    record: bool = True
    """Store what a replay needs: about as many bytes as a run receives."""
    policy: Path | None = None
    """What submitted analyses may access (algorithm to data)."""

    home: Path = Path()

    def settings(self) -> dict[str, Any]:
        """Return this party's settings for role functions: its folder, its policy and its privacy
        ledger.
        """
        policy = None if self.policy is None else self.home / self.policy
        return {"home": self.home, "policy": policy, "budget": self.home / "budget.json"}

    @classmethod
    def load(cls, path: Path) -> PartyConfig:
        """Read a configuration; ``config_missing``, ``config_malformed``,
        ``certificate_not_pinned``.
        """
        try:
            value: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
            config = cls(**value, home=path.parent)
        except OSError as error:
            raise BadInput(
                "config_missing",
                f"The configuration {path} cannot be read.",
                hint="Make one: qiaolian federated init.",
            ) from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise BadInput(
                "config_malformed", f"The configuration {path.name}: {where}: {first['msg']}."
            ) from error
        except (ValueError, TypeError) as error:
            raise BadInput(
                "config_malformed", f"The configuration {path.name} is not TOML: {error}."
            ) from error
        for name in config.peers:
            config.certificate_of(name)
        return config

    def certificate_of(self, peer: str) -> bytes:
        """Return a peer's certificate (PEM). Its key must be the pinned one."""
        entry = self.peers[peer]
        try:
            pem = (self.home / entry.certificate).read_bytes()
        except OSError as error:
            raise BadInput(
                "certificate_malformed", f"The certificate of {peer} cannot be read."
            ) from error
        if fingerprint_of(pem, name=peer) != entry.fingerprint:
            raise Conflict(
                "certificate_not_pinned",
                f"The certificate of {peer} is not the one whose fingerprint is pinned.",
            )
        return pem

    def source(self, name: str | None) -> PartySource:
        """Return a source by name; ``source_unknown``."""
        if name is None or name not in self.sources:
            raise BadInput(
                "source_unknown",
                f"This party has no source {name}.",
                hint="Add it to the configuration.",
            )
        return self.sources[name]
