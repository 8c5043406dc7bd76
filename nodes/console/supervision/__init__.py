"""The supervisor's work: records to their source, reconciliation, violations, proofs."""
