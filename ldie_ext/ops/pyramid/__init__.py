"""Masks of instances that grow from coarse to fine."""
