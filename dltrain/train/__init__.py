"""Training: the loop, its steps and shards, what is measured, and every way to end."""
