"""The whole network, at the supervisor and the operator."""
