"""Approval of money matters by two different persons, held by the services themselves."""
