"""Data sets: read from their layouts, split by patient, varied, and drawn in batches."""
