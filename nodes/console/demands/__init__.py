"""Demands for data: a bank's own with their answers, and other members' at a department."""
