"""Agreements: orders on offers, their money, their end."""
