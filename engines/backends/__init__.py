"""One folder for each library that runs networks."""
