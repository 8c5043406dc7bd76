"""See `service`."""
