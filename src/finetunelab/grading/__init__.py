"""Grading: a hand-in runs in a confined process of its own, the hidden checks stay in another, and plain data passes between them."""
