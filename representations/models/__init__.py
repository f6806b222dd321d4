"""Causal language models: where their weights lie, how they are checked, loaded and prompted."""
