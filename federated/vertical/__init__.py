"""Vertical federated learning: scorecards over columns that several parties hold of the same
people.

==========================  ===================================================================
``binning``                 bins of one column at its owner, and their weight of evidence
``binned_columns``          all columns of one party in bins
``plan``                    the parameters that the parties of a training agree on
``counting``                secure counts of bad rows in another party's bins
``whitening``               decorrelation of a party's own columns
``fixed_point``             fixed-point numbers in a ring, and exact truncation of shares
``sigmoid``                 the logistic function on shares, as a Fourier sine series
``preprocessing``           masks and correlated randomness of one training step
``correlated_randomness``   named masks and dealer-generated shares
``communicator``            how the parties open shared values
``products``                masked selection and secret products (Beaver triples)
``training``                logistic regression on secret shares
``points``                  one party's part of a scorecard
``masked_sums``             sums of points under pairwise masks
``results``                 model files, model card and metrics of a training
``protocol``                the protocol ``scorecard``
``hidden_intersection``     the same protocol when nobody learns the common rows (circuit PSI)
``membership``              the circuit that computes shares of membership
``largest_eigenvalue``      the bound that fixes the step size over hidden rows
``score_histogram``         the histogram of hidden scores
``scoring``                 scoring by a scorecard
``messages``                arrays longer than one frame
``tables``                  result tables as CSV
==========================  ===================================================================
"""
