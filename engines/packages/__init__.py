"""Model packages: their files, their schema, what their answers mean."""
