"""Verify a bundle: one file with a proof and all that is needed to check it.

A bundle is exactly its RFC 8785 bytes, with a closed schema::

    {"format": "qiaolian-bundle/1", "story": the proof profile,
     "subject":     {what the proof is about},
     "chain":       {"chainId": n, "genesisHash": 0x…},
     "headers":     [0x… RLP with seals],
     "storage":     [{"header": i, "address": 0x…, "slot": 0x…, "value": 0x…,
                      "accountProof": [0x…], "storageProof": [0x…]}],
     "keys":        [{"fingerprint": 0x…, "storage": i}],
     "statements":  [{"type": …, "message": {…}, "signature": 0x…}],
     "structs":     [{"type": …, "message": {…}}],
     "logs":        [{"member": …, "incarnation": n, "key": 0x…, "note": …, "size": i,
                      "root": i, "entries": [{"index": n, "leaf": {…}, "path": [0x…]}]}],
     "disclosures": [{"commitment": 0x…, "salt": 0x…, "domain": …, "record": …}]}

``verify`` checks, in this order:

1. the form (``form``), and the chain against the trust file;
2. the headers' hashes and seals, the storage proofs, the keys' records (``chain_state``);
3. the logs' checkpoints, witnesses, anchors and entries (``logs``);
4. the signatures (``signatures``), and what ended keys signed (``ended_keys``, ``policies``);
5. the opened commitments;
6. the proof profile of the domain, a function ``check(claims, subject) -> list[str]`` that returns
   the sentences proved or raises ``chain.core.errors.Inconsistent`` (``claims``).

Every element must be valid, used and unique; otherwise the whole bundle is refused.

**One height.** Keys and rights are read at the bundle's newest block. A key's record or a state
  proved under an older header is refused (``state_at_two_heights``): it would not show what ended
  in between. Only an anchor (a log's ``size`` and ``root``) is proved under its own header.

**Ended keys.** A statement of an ended key counts when an anchor from before the end shows it: the
  statement is an entry of a member's log, or an entry's statement names its hash (a receipt its
  request, a credit query its receipts). It also counts when a contract that requires a live key has
  accepted it (an agreement, a deal's step, an answer to a dispute). A log's key must not have ended
  when its checkpoint was anchored. Everything else is ``key_ended``.

**No contradictions.** Two different certificates of one key, or one statement twice under one key,
  refuse the bundle. A proof profile refuses contradictions of its own domain.

**Bounded work.** Size, depth and the number of values are checked before anything is built. After
  that each element is read a fixed number of times and found by hash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chain.bundle.chain_state import check_headers, check_keys, check_storage, headers_by_height
from chain.bundle.claims import Evidence, ProfileChecker, Report, VerifiedClaims
from chain.bundle.ended_keys import EndedKeyPolicies, require_signed_in_time
from chain.bundle.form import MAX_BYTES, read_bytes, read_struct, require_fields, require_form
from chain.bundle.logs import check_log
from chain.bundle.policies import NETWORK
from chain.bundle.signatures import check_statements
from chain.bundle.trust import Trust
from chain.core import schema
from chain.core.canonical import MAX_VALUES, loads_canonical, same
from chain.core.errors import Inconsistent, Malformed, WrongTrust
from chain.core.printable import quoted
from chain.statements.catalogue import ACCEPTED, STRUCTS
from chain.statements.commitment import opens


def verify(
    data: bytes,
    trust: Trust,
    checkers: Mapping[str, ProfileChecker],
    *,
    max_bytes: int = MAX_BYTES,
    policies: EndedKeyPolicies = NETWORK,
) -> Report:
    """Verify a bundle from its bytes.

    Args:
        checkers: the proof profiles by name.
        policies: which statements of ended keys the domains let count.

    Raises:
        VerificationError: a subclass for each kind of failure.
    """
    value = loads_canonical(
        data, max_bytes=max_bytes, max_values=MAX_VALUES * max(1, max_bytes // MAX_BYTES)
    )
    profile, subject = require_form(value)
    if profile not in checkers:
        raise Malformed(
            "profile_unknown", f"This program knows no proof profile called {quoted(profile)}."
        )
    chain = {"chainId": trust.chain_id, "genesisHash": trust.genesis_hash}
    if not same(value["chain"], chain):
        raise WrongTrust("other_chain", "The bundle is of another chain than the trust file.")
    claims, unused_keys = _check_elements(value, trust, policies)
    proved = checkers[profile](claims, subject)
    claims.require_all_used()
    if unused_keys:
        raise Inconsistent("element_unused", "The bundle carries a key that signed nothing in it.")
    return _report(profile, proved, claims.evidence)


def _check_elements(
    value: Any, trust: Trust, policies: EndedKeyPolicies
) -> tuple[VerifiedClaims, set[bytes]]:
    """Check all sections; the claims, and the fingerprints of keys that signed nothing."""
    headers = check_headers(value["headers"], trust)
    evidence = Evidence(trust, headers_by_height(headers))
    proved_slots = check_storage(value["storage"], headers, evidence)
    keys = check_keys(value["keys"], proved_slots, evidence)
    log_keys = {check_log(log, proved_slots, keys, evidence) for log in value["logs"]}
    signing_keys = check_statements(value["statements"], keys, evidence)
    claims = VerifiedClaims(evidence)
    require_signed_in_time(keys, claims, policies)
    unsigned = STRUCTS | ACCEPTED
    evidence.structs.extend(read_struct(struct, unsigned) for struct in value["structs"])
    for disclosure in value["disclosures"]:
        _check_disclosure(disclosure, evidence)
    return claims, keys.keys() - log_keys - signing_keys


def _check_disclosure(value: Any, evidence: Evidence) -> None:
    require_fields(value, "commitment", "salt", "domain", "record")
    commitment = read_bytes(value["commitment"], length=32)
    salt = read_bytes(value["salt"], length=schema.SALT_BYTES)
    if not isinstance(value["domain"], str):
        raise Malformed("bundle_malformed", "A disclosure in the bundle is malformed.")
    if not opens(commitment, salt=salt, domain=value["domain"], record=value["record"]):
        raise Inconsistent("commitment_differs", "An opened record is not what was committed to.")
    evidence.disclosed[commitment, value["domain"]] = value["record"]


def _report(profile: str, proved: Sequence[str], evidence: Evidence) -> Report:
    height = evidence.latest_height
    time = evidence.blocks[height].timestamp if evidence.blocks else 0
    return Report(profile, proved, height, time, (*Report.limits, *evidence.limits))
