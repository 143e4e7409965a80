"""The demo world: drawn characters, a board of posts about them, and small models that see and draw that world."""
