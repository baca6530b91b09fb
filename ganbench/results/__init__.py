"""What is kept of runs, on disk and in rows; may import `training` and what is below it."""
