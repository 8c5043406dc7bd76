"""The table of drafts."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import JSON, BigInteger, LargeBinary, String
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base
from nodes.console.publishing.model import Draft, DraftContent, DraftState
from registry.pages import Page, PageRequest, page_of


class ConsoleDraft(Base):
    """An asset that somebody prepares to publish."""

    __tablename__ = "console_draft"
    draft_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    source: Mapped[str] = mapped_column(String(63), index=True)
    content: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(16))
    process: Mapped[str] = mapped_column(String(32))
    """The process that registers it."""
    asset_id: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    operation: Mapped[str] = mapped_column(String(200))
    failure: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[int] = mapped_column(BigInteger, index=True)
    changed_at: Mapped[int] = mapped_column(BigInteger)


def draft_page(session: Session, page: PageRequest) -> Page[ConsoleDraft]:
    """Drafts, the newest first; ``cursor_malformed``."""
    order = (ConsoleDraft.created_at, ConsoleDraft.draft_id)
    return page_of(session, sa.select(ConsoleDraft), order, page)


def find(session: Session, draft_id: str) -> ConsoleDraft | None:
    """One draft."""
    return session.get(ConsoleDraft, draft_id)


def add(session: Session, row: ConsoleDraft) -> None:
    """Store a new draft."""
    session.add(row)


def delete(session: Session, draft_id: str) -> None:
    """Delete a draft."""
    session.execute(sa.delete(ConsoleDraft).where(ConsoleDraft.draft_id == draft_id))


def delete_idle(session: Session, *, before: int) -> None:
    """Delete drafts that nobody changed since a time and that are not being registered."""
    session.execute(
        sa.delete(ConsoleDraft).where(
            ConsoleDraft.changed_at < before, ConsoleDraft.state != DraftState.REGISTERING
        )
    )


def sources(session: Session) -> set[str]:
    """The sources of all drafts."""
    return set(session.scalars(sa.select(ConsoleDraft.source)))


def draft_of(row: ConsoleDraft) -> Draft:
    """The draft of a row."""
    return Draft(
        id=row.draft_id,
        source=row.source,
        content=DraftContent.from_json(row.content),
        state=DraftState(row.state),
        changed_at=row.changed_at,
        asset_id=row.asset_id,
        operation=row.operation,
        failure=row.failure,
    )
