"""The training of one variant: the loop, its batches, what it spends; may import `toolbox` and what is below it."""
