"""Owns the mergeable aggregates of a metric, numbers and sketches in columns; never a store."""
