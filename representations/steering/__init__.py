"""Steering: the trials, the judges of their texts, and text measures."""
