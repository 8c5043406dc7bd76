"""Algorithm to data: an owner runs a submitted analysis under its own policy and gives back the permitted result alone.

=============  =========================================================================
``syntax``     what an analysis may say: its SQL, read into forms of our own
``policy``     what an owner allows: uses of columns, functions, group size, limits
``statement``  an analysis as what DuckDB runs, written anew and typed
``confined``   runs it in a process that has the rows and nothing else
``child``      that process
``releases``   what has been released over a source, and what may still be
``answer``     which cells may be given out, and with what noise
``protocol``   the protocol that jobs name
=============  =========================================================================
"""

from federated.analysis.protocol import ANALYSIS

__all__ = ["ANALYSIS"]
