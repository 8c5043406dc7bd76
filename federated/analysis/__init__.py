"""Algorithm to data: an owner runs a submitted analysis under its own policy.

Only the permitted result leaves the owner.

=============  ===================================================================================
``syntax``     the allowed SQL, parsed into our own forms
``policy``     what an owner allows: uses of columns, functions, group size, limits
``statement``  an analysis as the SQL that DuckDB runs, generated from its parsed forms and typed
``confined``   runs it in a process that has the rows and nothing else
``child``      that process
``releases``   what was released over a source, and what may still be
``answer``     which cells may be released, and with what noise
``protocol``   the protocol that jobs name
=============  ===================================================================================
"""

from federated.analysis.protocol import ANALYSIS

__all__ = ["ANALYSIS"]
