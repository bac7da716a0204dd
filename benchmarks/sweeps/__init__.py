"""Benchmarks of our worker alone, at several points of one quantity: `engine` runs all of them."""
