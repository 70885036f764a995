"""haarflow."""
