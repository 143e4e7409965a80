"""The picture models: fetched, run, and what they measure."""
