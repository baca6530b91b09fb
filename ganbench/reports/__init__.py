"""What a reader sees of records, one module a format; may import `runs` and what is below it."""
