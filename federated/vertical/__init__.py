"""Joint models over columns that different parties hold of the same people: scorecards, and scoring by them.

==============  ==============================================================================================
``binning``     a column's bins at its owner, and their weight of evidence
``plan``        what the parties of a training agree on
``counting``    bad rows in another party's bins, counted under masks
``whitening``   a party's own columns made uncorrelated
``fixed``       real numbers in a ring of integers, and their exact truncation
``sigmoid``     the logistic function on shares
``dealing``     what the dealer prepares
``training``    logistic regression on shares
``points``      a party's part of a scorecard
``sums``        sums of points under masks
``cuts``        a party's columns in bins; ``results``: what a training leaves
``protocol``    the protocol ``scorecard``
``unseen``      the same on rows that nobody learns
``circle``      who holds shares, and how they open them; ``hands``: what the dealer deals them, by name
``membership``  a circuit that finds the common rows as shares
``products``    products of shares
``curvature``   how far a step may go over such rows
``buckets``     how their scores are spread
``scoring``     the protocol ``scoring``
``messages``    long arrays in pieces; ``tables``: results as files
==============  ==============================================================================================
"""
