"""Owns questions and answers: reading a question, answering it from a live metric, rendering."""
