"""The loop that every training goes through, with Lightning: what is trained stands in recipes.py and classic.py."""
