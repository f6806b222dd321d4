"""Steering: the trials, the judges of what is written, and measures of the text."""
