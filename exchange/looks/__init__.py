"""Looks: who asked for a subject's record and why, with the proof of each, and the check that the
account of them is complete.
"""
