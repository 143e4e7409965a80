"""Scores against the truth of the demo world; nothing else reads it."""
