"""One module for each data set: how its files lie on disk as published."""
