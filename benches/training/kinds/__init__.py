"""Kinds of training jobs that people run, small: the sets `tuning` and `deciding` are made of them."""
