"""Benchmarks: `python -m benchmarks NAME`; they measure the product and are no part of it."""
