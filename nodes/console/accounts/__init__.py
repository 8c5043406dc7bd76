"""The organisation's people: accounts, sessions, invitations."""
