"""Data sets in their published layouts."""
