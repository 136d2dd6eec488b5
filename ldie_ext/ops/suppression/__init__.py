"""Non-maximum suppression of boxes, hard and soft."""
