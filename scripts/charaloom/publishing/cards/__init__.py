"""What the cards of the published repositories say."""
