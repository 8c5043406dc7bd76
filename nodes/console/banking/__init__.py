"""Bank files, payouts, orders of payments and members' accounts."""
