"""dltrain: train small networks from YAML and see what happens inside them."""

__version__ = "0.1.0"
