"""Architecture families."""
