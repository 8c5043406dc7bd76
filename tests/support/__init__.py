"""What tests of several packages share: organisations whose services run in this process, over the
real contracts on a throw-away chain.
"""
