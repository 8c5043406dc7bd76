"""The bank's side of the money: account statements in, orders of payments out, and the accounts
that members are paid to.
"""
