"""How good a network is: losses and figures, mistakes, baselines, pictures and texts that it makes."""
