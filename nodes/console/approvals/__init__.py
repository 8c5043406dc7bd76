"""Acts that two persons do together: one proposes, another confirms."""
