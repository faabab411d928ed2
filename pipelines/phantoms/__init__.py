"""Procedural phantoms with a known truth."""
