"""Survey of architectures: each kind of causal model, built small, read, written and steered."""
