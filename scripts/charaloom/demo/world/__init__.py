"""The drawn world and its board."""
