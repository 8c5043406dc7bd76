"""The demos, the benches and the developers' tools; not part of the installed package."""
