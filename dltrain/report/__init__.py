"""What is shown of networks and runs besides text at the terminal."""
