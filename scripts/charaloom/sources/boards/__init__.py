"""Boards: one small module for each dialect, and the list of a query's posts."""
