"""Training, export and measurement of the published systems (training/experiments.py), with Lightning and MONAI."""
