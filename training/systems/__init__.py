"""Training, export and measurement of the published systems (training/classic.py), with Lightning and MONAI."""
