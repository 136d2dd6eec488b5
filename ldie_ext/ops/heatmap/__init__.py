"""Centre heatmaps: targets of a batch of boxes, peaks of a predicted map, the loss gathered at the centres."""
