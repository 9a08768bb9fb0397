"""A page over run directories that follows them while trainings write."""
