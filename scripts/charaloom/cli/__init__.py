"""The commands of `charaloom`."""
