"""Agents: what runs on the streams, one verb a module; they decide when, the core decides what."""
