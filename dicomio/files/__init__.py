"""DICOM on disk: the spool, files with and without file meta, headers and their values."""
