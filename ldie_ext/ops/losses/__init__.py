"""Losses fused into one pass forward and one backward: focal, Dice, centre focal, spatial softmax."""
