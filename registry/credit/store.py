"""Tables of consents, disputes and credit queries."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import JSON, BigInteger, LargeBinary
from sqlalchemy.orm import Mapped, Session, mapped_column

from chain.core.database import Base, Database, PreparedStatement
from chain.statements.credit import CreditDispute, CreditQuery, CreditRepair
from chain.statements.members import SubjectKeyCertificate
from registry.credit.model import (
    AnchoredQuery,
    CertifiedIdentity,
    ConsentPackage,
    CreditReport,
    Dispute,
    OwnQuery,
    ReportedDispute,
    SignedReceipt,
)
from registry.list_limits import MAX_ROWS
from registry.pages import Page, PageRequest, page_of


class StoredConsentRow(Base):
    """A subject's consent with what opens it, at the bank it was given to."""

    __tablename__ = "credit_consent"
    commitment: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    subject: Mapped[str] = mapped_column(index=True)
    authority: Mapped[str] = mapped_column(index=True)
    """The key that signed it."""
    package: Mapped[dict[str, object]] = mapped_column(JSON)


class CertificateRow(Base):
    """A key certificate this issuer issued, or was shown for disputes; one for each key. The
    identity stays here.
    """

    __tablename__ = "credit_certificate"
    key: Mapped[str] = mapped_column(primary_key=True)
    identity: Mapped[dict[str, object]] = mapped_column(JSON)
    certificate: Mapped[dict[str, object]] = mapped_column(JSON)
    signature: Mapped[bytes] = mapped_column(LargeBinary)


class DisputeRow(Base):
    """A dispute about one of this department's records, with the answer when there is one."""

    __tablename__ = "credit_dispute"
    dispute_id: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    subject: Mapped[str] = mapped_column(index=True)
    asset_id: Mapped[bytes] = mapped_column(LargeBinary)
    dispute: Mapped[dict[str, object]] = mapped_column(JSON)
    signature: Mapped[bytes] = mapped_column(LargeBinary)
    authority: Mapped[str]
    raised_at: Mapped[int] = mapped_column(index=True)
    claim: Mapped[dict[str, object]] = mapped_column(JSON)
    old_record: Mapped[dict[str, object]] = mapped_column(JSON)
    new_record: Mapped[dict[str, object] | None] = mapped_column(JSON)
    repair: Mapped[dict[str, object] | None] = mapped_column(JSON)
    repair_signature: Mapped[bytes | None] = mapped_column(LargeBinary)
    opened_at: Mapped[int | None]
    answered_at: Mapped[int | None]


class CreditQueryRow(Base):
    """A one-stop report this bank made, with the statement that was anchored."""

    __tablename__ = "credit_query"
    query_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    added: Mapped[int] = mapped_column(BigInteger, default=time.time_ns, index=True)
    """When this node added the row, in nanoseconds since 1970: the order of lists. It never
    changes.
    """
    subject: Mapped[str] = mapped_column(index=True)
    statement: Mapped[dict[str, object]] = mapped_column(JSON)
    signature: Mapped[bytes] = mapped_column(LargeBinary)
    report: Mapped[dict[str, object]] = mapped_column(JSON)
    report_salt: Mapped[bytes] = mapped_column(LargeBinary)
    receipts: Mapped[list[dict[str, object]]] = mapped_column(JSON)
    """The departments' receipts in the report's order, with what each was delivered under:
    ``receipt``, ``signature``, ``agreement``, ``agreementSignature`` (the department's)."""
    disputes: Mapped[list[dict[str, object]]] = mapped_column(JSON)
    """The disputes that the departments reported, with their statements."""
    operation: Mapped[str]


class AnchoredQueryRow(Base):
    """A credit query of any bank that the chain has, for whoever supervises."""

    __tablename__ = "credit_anchored_query"
    query_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    bank: Mapped[str] = mapped_column(index=True)
    height: Mapped[int] = mapped_column(index=True)


# --- Consents and certificates --------------------------------------------------------------------

_PACKAGE = PreparedStatement(
    sa.select(sa.cast(StoredConsentRow.package, sa.Text)).where(
        StoredConsentRow.commitment == sa.bindparam("commitment")
    )
)
"""Read with every call of a bank."""


def save_consent(session: Session, consent_id: bytes, package: ConsentPackage) -> None:
    """Store a consent under the id that the chain has for it."""
    session.merge(
        StoredConsentRow(
            commitment=consent_id,
            subject=package.subject(),
            authority=package.consent.authority,
            package=package.to_json(),
        )
    )


def consent_text(database: Database, consent_id: bytes) -> str | None:
    """A stored consent package as JSON text, or None."""
    return _text(database.fetch(_PACKAGE, {"commitment": consent_id}))


async def aconsent_text(database: Database, consent_id: bytes) -> str | None:
    """``consent_text`` for coroutines."""
    return _text(await database.afetch(_PACKAGE, {"commitment": consent_id}))


def _text(found: Sequence[Any]) -> str | None:
    return str(found[0][0]) if found else None


def consents_page(
    session: Session, page: PageRequest, *, subject: str = ""
) -> Page[tuple[bytes, ConsentPackage]]:
    """Stored consents with their ids, by id; with ``subject`` only that one's;
    ``cursor_malformed``.
    """
    query, order = sa.select(StoredConsentRow), (StoredConsentRow.commitment,)
    if subject:
        query = query.where(StoredConsentRow.subject == subject)
    found = page_of(session, query, order, page, ascending=True)
    return found.map(lambda row: (row.commitment, ConsentPackage.from_json(row.package)))


def consents_of(session: Session, subjects: Collection[str]) -> list[tuple[bytes, ConsentPackage]]:
    """The stored consents of some subjects, with their ids."""
    query = sa.select(StoredConsentRow).where(StoredConsentRow.subject.in_(list(subjects)))
    found = session.scalars(query)
    return [(row.commitment, ConsentPackage.from_json(row.package)) for row in found]


def consents_under(session: Session, key: str) -> list[tuple[bytes, ConsentPackage]]:
    """Stored consents that a key signed, with their ids, ``MAX_ROWS`` at most."""
    query = sa.select(StoredConsentRow).where(StoredConsentRow.authority == key).limit(MAX_ROWS)
    rows = session.scalars(query.order_by(StoredConsentRow.commitment))
    return [(row.commitment, ConsentPackage.from_json(row.package)) for row in rows]


def find_certificate(session: Session, key: str) -> CertifiedIdentity | None:
    """A key's certificate, or None."""
    row = session.get(CertificateRow, key)
    return None if row is None else _certified(row)


def certificates(session: Session) -> list[CertifiedIdentity]:
    """Every certificate that was issued or shown here."""
    return list(map(_certified, session.scalars(sa.select(CertificateRow))))


def add_certificate(session: Session, certified: CertifiedIdentity) -> None:
    """Store the certificate of a key that has none."""
    session.add(
        CertificateRow(
            key=certified.certificate.key,
            identity=dict(certified.identity),
            certificate=certified.certificate.to_json(),
            signature=certified.signature,
        )
    )


def _certified(row: CertificateRow) -> CertifiedIdentity:
    certificate = SubjectKeyCertificate.from_json(row.certificate)
    return CertifiedIdentity(row.identity, certificate, row.signature)


# --- Disputes -------------------------------------------------------------------------------------


def find_dispute(session: Session, dispute_id: bytes) -> Dispute | None:
    """A dispute, or None."""
    row = session.get(DisputeRow, dispute_id)
    return None if row is None else _dispute(row)


def disputes_page(session: Session, page: PageRequest) -> Page[Dispute]:
    """Disputes, the newest first; ``cursor_malformed``."""
    order = (DisputeRow.raised_at, DisputeRow.dispute_id)
    return page_of(session, sa.select(DisputeRow), order, page).map(_dispute)


def disputes_of(
    session: Session, subject: str, asset_id: bytes
) -> list[tuple[Dispute, CertifiedIdentity]]:
    """A subject's disputes about an asset with the certificates of their keys, the first raised
    first.
    """
    query = (
        sa.select(DisputeRow, CertificateRow)
        .where(DisputeRow.subject == subject, DisputeRow.asset_id == asset_id)
        .join(CertificateRow, CertificateRow.key == DisputeRow.authority)
        .order_by(DisputeRow.raised_at)
    )
    return [(_dispute(row), _certified(key)) for row, key in session.execute(query)]


def disputes_by(session: Session, subject: str) -> list[Dispute]:
    """A subject's disputes, the newest first, ``MAX_ROWS`` at most."""
    query = sa.select(DisputeRow).where(DisputeRow.subject == subject)
    rows = session.scalars(query.order_by(DisputeRow.raised_at.desc()).limit(MAX_ROWS))
    return list(map(_dispute, rows))


def count_unanswered(session: Session) -> int:
    """The number of unanswered disputes."""
    query = sa.select(sa.func.count()).where(DisputeRow.repair_signature.is_(None))
    return session.scalar(query) or 0


def save_dispute(session: Session, dispute: Dispute) -> None:
    """Store a dispute, new or changed."""
    statement, repair = dispute.statement, dispute.repair
    session.merge(
        DisputeRow(
            dispute_id=dispute.dispute_id,
            subject=dispute.subject,
            asset_id=statement.asset_id,
            dispute=statement.to_json(),
            signature=dispute.signature,
            authority=statement.authority,
            raised_at=statement.raised_at,
            claim=dict(dispute.claim),
            old_record=dict(dispute.old_record),
            new_record=None if dispute.new_record is None else dict(dispute.new_record),
            repair=None if repair is None else repair.to_json(),
            repair_signature=dispute.repair_signature,
            opened_at=dispute.opened_at,
            answered_at=dispute.answered_at,
        )
    )


def set_dispute_heights(session: Session, dispute_id: bytes, **heights: int) -> None:
    """Set columns of a dispute that is known."""
    query = sa.update(DisputeRow).where(DisputeRow.dispute_id == dispute_id)
    session.execute(query.values(**heights))


def _dispute(row: DisputeRow) -> Dispute:
    return Dispute(
        statement=CreditDispute.from_json(row.dispute),
        signature=row.signature,
        subject=row.subject,
        claim=row.claim,
        old_record=row.old_record,
        new_record=row.new_record,
        repair=None if row.repair is None else CreditRepair.from_json(row.repair),
        repair_signature=row.repair_signature,
        opened_at=row.opened_at,
        answered_at=row.answered_at,
    )


# --- Queries --------------------------------------------------------------------------------------


def find_report(session: Session, query_id: bytes) -> CreditReport | None:
    """A report that this bank made, or None."""
    row = session.get(CreditQueryRow, query_id)
    return None if row is None else _report(row)


def reports_of(session: Session, subject: str) -> list[CreditReport]:
    """The reports that this bank made of a subject."""
    query = sa.select(CreditQueryRow).where(CreditQueryRow.subject == subject)
    return list(map(_report, session.scalars(query)))


def add_report(session: Session, report: CreditReport) -> None:
    """Store a new report."""
    session.add(
        CreditQueryRow(
            query_hash=report.query_id,
            subject=report.subject,
            statement=report.query.to_json(),
            signature=report.signature,
            report=dict(report.report),
            report_salt=report.salt,
            receipts=[receipt.to_json() for receipt in report.receipts or ()],
            disputes=[dispute.to_json() for dispute in report.disputes],
            operation=report.operation,
        )
    )


def own_queries_page(session: Session, page: PageRequest) -> Page[OwnQuery]:
    """The queries that this bank made, the newest first; ``cursor_malformed``."""
    order = (CreditQueryRow.added, CreditQueryRow.query_hash)
    return page_of(session, sa.select(CreditQueryRow), order, page).map(_own_query)


def find_anchored_query(session: Session, query_id: bytes) -> AnchoredQuery | None:
    """A query that an event reported, or None."""
    row = session.get(AnchoredQueryRow, query_id)
    return None if row is None else _anchored_query(row)


def anchored_queries_page(session: Session, page: PageRequest) -> Page[AnchoredQuery]:
    """The queries of all banks, the last anchored first; ``cursor_malformed``."""
    order = (AnchoredQueryRow.height, AnchoredQueryRow.query_hash)
    return page_of(session, sa.select(AnchoredQueryRow), order, page).map(_anchored_query)


def add_anchored_query(session: Session, query: AnchoredQuery) -> None:
    """Store a query that an event reported, once."""
    if session.get(AnchoredQueryRow, query.query_id) is None:
        session.add(
            AnchoredQueryRow(query_hash=query.query_id, bank=query.bank, height=query.height)
        )


def _report(row: CreditQueryRow) -> CreditReport:
    with_agreements = all("agreement" in receipt for receipt in row.receipts)
    return CreditReport(
        query=CreditQuery.from_json(row.statement),
        signature=row.signature,
        subject=row.subject,
        report=row.report,
        salt=row.report_salt,
        receipts=list(map(SignedReceipt.from_json, row.receipts)) if with_agreements else None,
        disputes=list(map(ReportedDispute.from_json, row.disputes)),
        operation=row.operation,
    )


def _own_query(row: CreditQueryRow) -> OwnQuery:
    query = CreditQuery.from_json(row.statement)
    return OwnQuery(row.query_hash, query.bank, query.issued_at, row.report)


def _anchored_query(row: AnchoredQueryRow) -> AnchoredQuery:
    return AnchoredQuery(row.query_hash, row.bank, row.height)
