"""Transparency logs: Merkle trees and signed checkpoints."""
