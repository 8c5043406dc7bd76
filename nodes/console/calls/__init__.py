"""Metered calls by form, and those that are unanswered."""
