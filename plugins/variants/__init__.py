"""GAN variants and controls."""
