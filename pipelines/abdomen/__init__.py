"""Abdominal CT: liver and liver tumours."""
