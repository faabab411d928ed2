"""Segmentation objects: masks to DICOM SEG, and back to compare."""
