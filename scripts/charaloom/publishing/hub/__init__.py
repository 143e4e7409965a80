"""Publishing to a model hub: one commit for each repository, and what is checked before and after."""
