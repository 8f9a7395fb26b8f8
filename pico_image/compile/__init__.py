"""What is cross-compiled for the board with the ARM compiler of the distribution."""
