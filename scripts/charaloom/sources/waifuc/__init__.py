"""waifuc as a source: an optional program in an environment of its own, never imported here."""
