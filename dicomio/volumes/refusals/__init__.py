"""Why a series is refused: one class per reason, with its figures and what to do.

The messages are written for somebody at the scanner's console. None of them names a patient.
"""
