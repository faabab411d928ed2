"""How the tables came to be what they are; `python -m db.migrations "what changes"` drafts the next step."""
