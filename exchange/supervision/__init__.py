"""What a supervisor and the operator see of the whole network: flows, hours, records to their
source.
"""
