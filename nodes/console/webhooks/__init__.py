"""Webhooks, for the administrator: addresses, secrets, deliveries and their replay."""
