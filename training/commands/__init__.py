"""The commands of the `train` extra: train, cross-validate, export, evaluate, reproduce."""
