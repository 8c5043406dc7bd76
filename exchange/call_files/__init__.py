"""Calls by file: a bank's table of subjects, each row one metered call."""
