"""Disputes that subjects raised about this department's records."""
