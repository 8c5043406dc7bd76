"""``qiaolian federated demo``: four parties on real credit records, and what a department's bank
gains from public data.
"""
