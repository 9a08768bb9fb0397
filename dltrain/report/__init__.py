"""From run directories to pages and tables. Reads what a run has kept and nothing else."""
