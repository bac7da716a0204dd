"""Owns the whole system on one machine for a first look; must not be imported by the product."""
