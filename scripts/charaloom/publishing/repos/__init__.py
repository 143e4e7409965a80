"""What lies in the dataset repository and in the model repository."""
