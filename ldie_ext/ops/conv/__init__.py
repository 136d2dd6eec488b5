"""Convolutions that PyTorch lacks."""
