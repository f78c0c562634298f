"""Pictures: rendered from their sources, and varied for training."""
