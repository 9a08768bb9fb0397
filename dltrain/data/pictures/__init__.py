"""Pictures: their files and pixels, the sets of them, and the random changes that augment these in training."""
