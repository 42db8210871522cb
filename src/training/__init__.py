"""From texts to a trained model."""
