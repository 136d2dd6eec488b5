"""Assignment of predictions to ground truth by a matrix of qualities."""

from __future__ import annotations

import torch
from torch import Tensor


class Matcher:
    """``torchvision.models.detection._utils.Matcher``, for matrices of any quality.

    For boxes :func:`ldie_ext.match_boxes` does the same without the matrix; that is what ``patch()`` puts into
    torchvision's models.

    Args:
        high_threshold: quality from which a prediction is matched.
        low_threshold: quality below which it is background; at most high_threshold.
        allow_low_quality_matches: also match the best predictions of each ground truth.

    Example:
        >>> Matcher(0.7, 0.3)(torch.tensor([[0.8, 0.5, 0.1]]))
        tensor([ 0, -2, -1])
    """

    BELOW_LOW_THRESHOLD = -1
    BETWEEN_THRESHOLDS = -2

    def __init__(self, high_threshold: float, low_threshold: float, allow_low_quality_matches: bool = False) -> None:
        if not low_threshold <= high_threshold:
            raise ValueError(f"low_threshold must be at most {high_threshold} (high_threshold), got {low_threshold}")
        self.high_threshold = high_threshold
        self.low_threshold = low_threshold
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, match_quality_matrix: Tensor) -> Tensor:
        """For each prediction the row of its ground truth, or one of the two negative numbers.

        Args:
            match_quality_matrix: [M, N], M ground truths and N predictions, neither 0.
        """
        if match_quality_matrix.numel() == 0:
            missing = "ground-truth" if match_quality_matrix.shape[0] == 0 else "proposal"
            raise ValueError(f"No {missing} boxes available for one of the images during training")
        quality, rows = match_quality_matrix.max(dim=0)
        matches = rows.masked_fill(quality < self.high_threshold, self.BETWEEN_THRESHOLDS)
        matches = matches.masked_fill(quality < self.low_threshold, self.BELOW_LOW_THRESHOLD)
        if self.allow_low_quality_matches:
            best = match_quality_matrix == match_quality_matrix.amax(dim=1, keepdim=True)
            matches = torch.where(best.any(dim=0), rows, matches)
        return matches
