"""The chain side: engines, the Ledger port, statements, logs, proofs and bundles. Knows no domain
rule.
"""
