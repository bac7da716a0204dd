"""Owns every test of the system, one folder a tier; product code must never import from here."""
