"""The node program: configuration, roles, source adapters, workers. Holds no rule."""
