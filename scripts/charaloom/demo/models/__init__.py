"""The demo's small models, and how they are trained."""
