"""The torch side: corpus, models, residual-stream activations, generation, separation scores."""
