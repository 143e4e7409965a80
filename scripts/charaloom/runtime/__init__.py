"""What every job of the workflow shares: log, GPU, child processes."""
