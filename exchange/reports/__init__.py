"""The one-stop credit report: several departments' metered answers under one consent, disputes
beside them, and the query anchored.
"""
