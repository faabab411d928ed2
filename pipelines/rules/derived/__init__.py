"""What we derive of a series: plane, sequence, contrast, phase, localizer."""
