"""How fast each engine answers here, side by side."""
