"""Experiments of the papers at finite width, one in each file: members that are trained, beside the papers' numbers."""
