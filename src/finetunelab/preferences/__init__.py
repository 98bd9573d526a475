"""Preferences: what reviewers say about responses. ``panel`` simulates the reviewers."""
