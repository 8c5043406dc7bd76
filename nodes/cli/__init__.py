"""The command line: one module per command group, its commands in a table, on top of
``command_group`` and ``session``.
"""
