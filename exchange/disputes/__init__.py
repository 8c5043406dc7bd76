"""Disputes over metered calls: claims of receipts that the buyer did not acknowledge, contests,
answers, rulings and their ends, and proofs that a provider signed two receipts for one place.
"""
