"""Chapter 5: passages that are found by what they mean, and put into the prompt."""
