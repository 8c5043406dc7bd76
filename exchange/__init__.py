"""Agreements, metered calls, vouchers, settlement and reconciliation."""
