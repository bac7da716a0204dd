"""Owns the real services that integration tests start; product code must never import from here."""
