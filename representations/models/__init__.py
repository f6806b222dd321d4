"""Causal language models: find their weights, check them, load them and prompt them."""
