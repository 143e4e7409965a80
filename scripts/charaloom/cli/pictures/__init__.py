"""Commands about single pictures."""
