"""DICOM over the network: the listener, associations that are accepted (SCP) and opened (SCU), TLS."""
