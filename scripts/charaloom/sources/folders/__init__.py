"""A folder of the user's own: its pictures, and what the files beside them say."""
