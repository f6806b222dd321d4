"""Survey the architectures: build each kind of causal model small, read, write and steer."""
