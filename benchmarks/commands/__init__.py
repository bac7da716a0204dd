"""The commands of the benchmarks, and what they share."""
