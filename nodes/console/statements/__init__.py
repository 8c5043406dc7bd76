"""This member's account statement."""
