# SPDX-License-Identifier: Apache-2.0
"""Mask and Keypoint R-CNN: proposals, then classes, boxes, masks and keypoints of each."""
