"""Deliveries: one row per result and destination, until the destination has it."""
