"""How many rows a page of a list has; for both ends, without what reads them from a database."""

DEFAULT_ROWS = 50
"""Rows of a page when nothing else is asked for."""
MAX_ROWS = 200
MAX_CURSOR_CHARACTERS = 400
