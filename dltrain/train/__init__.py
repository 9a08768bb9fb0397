"""Training: the loop, its steps, what is measured on the way, and every way to end."""
