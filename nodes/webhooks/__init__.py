"""Webhooks: signed notices to the organisation's own systems about what they wait for."""
