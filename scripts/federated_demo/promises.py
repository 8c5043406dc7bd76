"""The promises of the demo of joint models, as a pure check of its report; the demo exits 0 only
if ``broken`` is empty.
"""

from __future__ import annotations

from typing import Any

PLAIN_GAP = 0.01
"""How far the joint scorecard's AUC may be below that of a plain model of pooled data."""
POOLED_GAP = 0.005
"""How far the joint scorecard's AUC may be from that of the same training on pooled data."""


def broken(report: dict[str, Any]) -> list[str]:
    """Return the promises that ``report`` does not support, one sentence each."""
    rules = [
        (
            report["bytes_read_without_yes"] == 0,
            "A source was opened before every data officer had approved.",
        ),
        (
            report["refused_as"] == "gate_refused",
            "A job that one officer had not approved was not refused.",
        ),
        (
            report["bytes_read_with_yes"] > 0,
            "The file monitor did not see an approved job open its sources, so it proves nothing.",
        ),
        (report["psi_equal"], "The intersection of two parties is not what both hold."),
        (
            report["psi_rows"] == report["common_rows"] > 0,
            "The rows trained on are not those that all parties hold.",
        ),
        (
            report["auc_recomputed"] == report["auc_joint"],
            "The reported AUC does not follow from the scores.",
        ),
        (
            report["auc_joint"] > report["auc_bank"],
            "The joint scorecard is no better than the bank's own.",
        ),
        (
            abs(report["auc_joint"] - report["auc_pooled"]) <= POOLED_GAP,
            "The joint scorecard is not as good as one trained on pooled data.",
        ),
        (
            report["auc_joint"] >= max(report["auc_one_hot"], report["auc_xgboost"]) - PLAIN_GAP,
            "A plain model of pooled data ranks the loans better than the joint scorecard.",
        ),
        (
            report["auc_joint_mortgages"]
            >= max(report["auc_one_hot_mortgages"], report["auc_xgboost_mortgages"]) - PLAIN_GAP,
            "A plain model of pooled data ranks the mortgages better than the joint scorecard.",
        ),
        (
            report["auc_joint_mortgages"] > report["auc_bank_mortgages"],
            "The joint scorecard of the mortgages is no better than the bank's own.",
        ),
        (
            report["mortgage_rows"] == report["mortgages_of_bank"],
            "Not every applicant for a mortgage was used.",
        ),
        (
            report["mortgages_dropped"] == {"bank": ["district"]},
            "A column with one value was not left out, or another one was.",
        ),
        (
            report["hidden_rows"] == report["common_rows"],
            "The hidden intersection does not have as many rows as all parties have in common.",
        ),
        (
            report["hidden_named"] == 0,
            "A file of the training on the hidden intersection names a firm.",
        ),
        (
            report["auc_hidden"] > report["auc_bank"],
            "The scorecard on the hidden intersection is no better than the bank's own.",
        ),
        (
            report["boost_auc"] > report["auc_bank"],
            "The joint trees are no better than the bank's own scorecard.",
        ),
        (report["tests_equal"], "The models were not evaluated on the same firms."),
        (report["scores_equal"], "A requested score differs from the training's."),
        (
            report["scored_rows"] == report["bank_rows"] > report["common_rows"],
            "Not every firm of the bank was scored.",
        ),
        (
            report["analysis_right"],
            (
                "A permitted analysis did not return the groups that "
                "are large enough, and those alone."
            ),
        ),
        (
            report["analysis_refused_as"] == "analysis_refused",
            "An analysis that discloses single rows was not refused.",
        ),
        (report["replay_equal"], "A party's replay does not repeat its run."),
        (report["replay_change_found"], "A replay did not notice a changed byte."),
    ]
    return [sentence for held, sentence in rules if not held]
