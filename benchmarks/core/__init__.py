"""Benchmarks of the pure core, without Kafka: one part against itself with another setting."""
