"""Figures of merit, from outputs and targets alone: scores, curves, and how sure they are."""
