"""What a network can express, and what bounds say about it: constructions, capacity, stability."""
