"""The study as the rules see it: its attributes, how they come out of headers, and what a rule can ask for."""
