"""Structured reports: what a report says, its tree, and the DICOM SR."""
