"""Masks: polygons and run lengths to pixels and back, crops, pasting, overlap."""
