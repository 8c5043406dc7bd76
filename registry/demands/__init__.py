"""Demands for data that no asset of the catalogue meets yet (需求清单)."""
