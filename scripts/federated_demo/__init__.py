"""``qiaolian federated demo``: joint models of a bank and three departments on real
credit records.
"""
