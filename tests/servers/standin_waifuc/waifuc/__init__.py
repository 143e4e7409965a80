"""A stand-in for waifuc: the same names, and sources that misbehave as waifuc's were seen to, and worse."""
