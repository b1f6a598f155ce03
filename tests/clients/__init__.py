"""Real clients, unchanged, against a live `ai-gateway serve` with simulated providers behind it."""
