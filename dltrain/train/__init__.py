"""Training: the loop, its shards and logs, and what is kept of a run."""
