"""The engine contract and its backends; model packages."""
