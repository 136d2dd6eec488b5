"""Edits of images: sequences of operators in one pass, with gradients to the image and to the parameters."""
