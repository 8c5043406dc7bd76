"""Solidity sources and their compiled ABI and bytecode."""
