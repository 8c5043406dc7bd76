"""Money: deposits confirmed by the settlement bank, claims, closing, refunds and withdrawals."""
