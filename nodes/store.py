"""The node program's own tables."""

from __future__ import annotations

from sqlalchemy import LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from chain.core.database import Base


class NodeCursor(Base):
    """The last block that a worker has processed; moved in the transaction of what it applied."""

    __tablename__ = "node_cursor"
    name: Mapped[str] = mapped_column(primary_key=True)
    height: Mapped[int]
    block_hash: Mapped[bytes] = mapped_column(LargeBinary)


class NodeHeartbeat(Base):
    """One row, written to see whether the database takes changes."""

    __tablename__ = "node_heartbeat"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[int]
