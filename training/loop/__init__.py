"""Training with Lightning: fit, checkpoints, schedule, losses, cross-validation. What is trained: experiments.py."""
