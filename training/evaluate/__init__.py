"""What a network is worth: figures by patient, thresholds, pictures, reports."""
