"""Where runs are made, one module a place; may import `runs` and what is below it."""
