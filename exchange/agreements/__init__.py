"""Offers, proposals and agreements: what may be traded, on what terms, and what both
sides signed.
"""
