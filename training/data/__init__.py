"""Data sets in their published layouts, read into cases (one per patient)."""
