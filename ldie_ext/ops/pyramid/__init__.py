"""Pyramids of instance hypotheses that grow from coarse to fine: what a level computes for all of them at once."""
