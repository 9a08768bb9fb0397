"""Checks that are made a few times by the tests and a great many times by `python tools/endurance/run.py`."""
