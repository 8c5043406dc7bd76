"""The command line of the people who use a node: one module a noun, its verbs in a table, over
``verb`` and ``session``.
"""
