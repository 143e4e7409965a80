"""The hard level of the demo world: what real boards have and the easy level leaves out."""
