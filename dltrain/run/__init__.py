"""What a training leaves on the disk: run directories, checkpoints, logs, groups of runs. Nothing is trained here."""
