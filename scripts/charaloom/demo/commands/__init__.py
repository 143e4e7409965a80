"""The commands that need the demo world."""
