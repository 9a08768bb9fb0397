"""What is trained: networks and their updates, settings, the loader, what a step is given."""
