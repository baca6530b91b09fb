"""Observers that come with ganbench."""
