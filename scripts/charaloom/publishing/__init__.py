"""The dataset and the model repository, and where they go."""
