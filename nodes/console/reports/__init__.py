"""Pages of one-stop credit reports."""
