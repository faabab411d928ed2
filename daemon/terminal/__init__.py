"""What the command line prints: tables and explanations."""
