"""The demo's promises, as a pure check of its report.

The demo exits 0 only when ``broken`` is empty, so this list is what "every step held" means.
"""

from __future__ import annotations

from typing import Any

REFUSALS = ("consent", "cap", "purpose", "operation", "edited record")
"""Calls that must have been seen refused."""
CASES = 4
"""Agreements that one party does not keep to."""
STORIES = ("trade", "lane", "credit", "property", "grant", "dispute")


def broken(report: dict[str, Any], *, calls: int, deals: int) -> list[str]:
    """Return the promises that ``report`` does not support, one sentence each; empty
    if all held.
    """
    trade, credit, prop = report["trade"], report["credit"], report["property"]
    rules = [
        (report["validators"] == 4, "Four validators did not all take part."),
        (report["blocks"] > 0 and report["transactions"] > 0, "The chain did not grow."),
        (trade["calls"] == calls, f"{trade['calls']} of {calls} metered calls were served."),
        (trade["masked"] > 0, "No masked column was seen masked."),
        (
            all(
                trade["refusals"].get(kind)
                for kind in ("consent", "cap", "purpose", "operation", "edited record")
            ),
            "Not every kind of refusal was seen.",
        ),
        (trade["refused_units"] == 0, "A refused call was billed."),
        (trade["free_calls"] > 0, "The departments did not share freely."),
        (trade["wrong_purpose_refused"], "A grant request for the wrong purpose was not refused."),
        (
            trade["opened_fen"] == trade["paid_fen"] + trade["refunded_fen"] + trade["locked_fen"],
            "Opened is not paid + refunded + locked.",
        ),
        (
            trade["deposited_fen"]
            == trade["withdrawn_fen"]
            + trade["free_fen"]
            + trade["all_locked_fen"]
            + trade["bonded_fen"],
            "Deposits are not withdrawn + free + locked + bonded.",
        ),
        (
            trade["paid_fen"] > 0 and trade["refunded_fen"] > 0,
            "Nothing was paid or nothing refunded.",
        ),
        (trade["counters_agree"], "Gateway, buyer and chain do not agree on what was used."),
        (
            len(trade["cases"]) == CASES and all(case["settled"] for case in trade["cases"]),
            "A disputed agreement did not end with the right payment.",
        ),
        (
            bool(trade["balances"])
            and all(row["change"] == row["due"] for row in trade["balances"]),
            "A party of the disputed agreements has not what is due to it.",
        ),
        (
            trade["disputes"] >= 2 and trade["equivocations_slashed"] >= 1,
            "The chain did not end two disputes and punish two receipts for one place.",
        ),
        (
            credit["reports"] >= 2,
            "The one-stop report was not fetched before and after the repair.",
        ),
        (
            credit["repaired"] >= 1,
            "The disputed record was not repaired, or the next report does not show both values.",
        ),
        (prop["registered"] == deals, f"{prop['registered']} of {deals} deals were registered."),
        (
            prop["refused"] >= 3,
            "A second sale, a sale under a hold or a title for a former owner was not refused.",
        ),
        (len(report["killed"]) >= 3, "Not every process that was to be killed came back."),
        (
            report["lost_records"] == [],
            "A record acknowledged to a client is missing after the kills.",
        ),
        (
            report["revocation_seconds"] is not None,
            "The gateway continued to serve after the grant was revoked.",
        ),
        (
            {bundle["story"] for bundle in report["bundles"]} >= set(STORIES),
            "Not every proof profile was exported as a bundle.",
        ),
        (all(bundle["verified"] for bundle in report["bundles"]), "A bundle does not verify."),
        (
            all(bundle["tampered_exit_code"] not in (0, None) for bundle in report["bundles"]),
            "A bundle with a byte changed passed.",
        ),
    ]
    return [sentence for held, sentence in rules if not held]
