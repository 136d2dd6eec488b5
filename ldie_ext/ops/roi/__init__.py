"""RoIAlign: features of regions of interest, from one feature map or a pyramid."""
