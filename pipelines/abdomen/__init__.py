"""Abdominal CT."""
