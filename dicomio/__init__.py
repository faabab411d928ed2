"""DICOM in, DICOM out: headers, volumes and geometry, listener, sender, SEG, SR. Knows no job."""
