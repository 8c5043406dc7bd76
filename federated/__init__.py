"""Joint computations on data that stays at its owners.

A *job* is one computation between named parties. Each party's role in a protocol is an ``async``
function of its own input, its seed and the messages it receives, and of nothing else. That makes a
run replayable.

==================  ===========================================================================
``channel``         messages between two parties, encoded, counted and checked; the ``Wire`` port
``session``         what a role function receives: its name, its channels, its randomness
``randomness``      all randomness of a run, derived from one committed seed
``local``           all parties in one process over queues, for tests and kernel benchmarks
``evaluation``      metrics of a model; ``card`` renders them as a model card
``intersection``    private set intersection
``vertical``        binning, logistic regression on secret shares, scorecards, scoring
``boosting``        SecureBoost
``horizontal``      secure aggregation, privacy budget, Flower
``analysis``        algorithm to data: submitted analyses
==================  ===========================================================================
"""
