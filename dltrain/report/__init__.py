"""From networks and run directories to pictures, pages and tables. Reads what a run has kept and nothing else."""
