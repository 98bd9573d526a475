"""Preferences: what reviewers say about responses.

``panel`` simulates the reviewers. Of people, ``widget`` takes the clicks, ``store`` keeps them, ``exchange`` writes them for trl and reads them
back. ``agreement`` tells how far raters of either kind agree.
"""
