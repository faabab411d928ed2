"""Routing rules: the file, its schema, conditions, matching, routing, preference, explanation."""
