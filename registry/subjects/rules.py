"""Whether a subject's certificate opens its records now."""

from __future__ import annotations

from chain.core.errors import Forbidden
from chain.ethereum.proved_records import ProvedRecords
from chain.statements.members import SubjectKeyCertificate
from registry.issuers import require_issuer


def require_in_force(
    certificate: SubjectKeyCertificate, records: ProvedRecords, *, now: int
) -> None:
    """The certificate covers this time, and the issuer that it names is an active department.

    Args:
        records: the issuer's member record, proved.
        now: Unix seconds.

    Raises:
        Forbidden: ``certificate_expired``, ``issuer_not_department``.
    """
    if not certificate.not_before <= now <= certificate.not_after:
        raise Forbidden(
            "certificate_expired",
            "The key's certificate does not cover this time.",
            hint="Make a new key and have it certified.",
        )
    require_issuer(records.member(certificate.issuer))
