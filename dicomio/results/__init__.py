"""DICOM out: SEG, structured report, key images, what they have in common, and reading back."""
