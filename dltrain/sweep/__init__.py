"""Trials of a config over a space of settings: which ones, when one is given up, and what came of them."""
