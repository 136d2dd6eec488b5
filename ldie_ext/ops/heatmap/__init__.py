"""Heatmaps: targets of box centres and keypoints, peaks and keypoints of predicted maps, the loss at the centres."""
