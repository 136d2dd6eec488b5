"""Anchors, box coding, overlaps, matching and sampling: what a two-stage detector does with boxes."""
