"""What a trained variant is worth: samples, features, metrics; may import `training` and what is below it."""
