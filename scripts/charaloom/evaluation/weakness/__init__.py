"""Whether a model is of use: when it counts as weak, and what to try then."""
