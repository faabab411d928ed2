"""The listener: several processes on one port, watched over, and what they share."""
