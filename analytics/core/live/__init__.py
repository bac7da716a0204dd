"""Owns what one worker holds of a metric to answer from; must not store it, nor read a clock."""
