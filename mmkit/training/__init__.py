"""Training: one loop for every system."""
