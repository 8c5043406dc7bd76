"""Joint models whose data never moves.

A *job* is one computation between named parties. Each party's role in a protocol is an ``async`` function of its own input, its seed and the
messages it receives, and of nothing else; that is what makes a run replayable. The rooms:

==================  =============================================================================================
``channel``         messages between two parties: encoded, counted, checked; the ``Wire`` port underneath
``session``         what a role function is given: its name, its channels, its randomness
``randomness``      all randomness of a run, derived from one committed seed
``local``           parties of one process over queues, for tests and for benches of the kernels alone
``evaluation``      how good a model's scores are; ``card`` tells it in a page
``intersection``    private set intersection
``vertical``        binning, logistic regression on secret shares, scorecards, scoring
``boosting``        SecureBoost
``horizontal``      secure aggregation, privacy budget, Flower
``analysis``        algorithm to data
==================  =============================================================================================
"""
