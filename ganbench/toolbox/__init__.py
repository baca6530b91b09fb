"""What a plugin may use: losses, layers, images, sources of data; may import `contract` and what is below it."""
