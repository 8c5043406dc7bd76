"""Blocks, proofs, typed data and contracts of the chain."""
