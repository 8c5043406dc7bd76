"""Grants: requests, the officer's decision, revocation."""
