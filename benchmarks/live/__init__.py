"""Benchmarks of a worker that is asked while it is fed."""
