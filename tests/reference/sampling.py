"""References of sampling: Philox4x32-10 in NumPy (Salmon et al., SC 2011), and a sample by sorting all words."""

import numpy as np
import torch
from torch import Tensor

MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox(counter: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Four random words uint64 [..., 4], each below 2^32, for counters [..., 4] and keys [..., 2] of 32-bit words."""
    x0, x1, x2, x3 = np.moveaxis(counter.astype(np.uint64), -1, 0)
    key0, key1 = np.moveaxis(key.astype(np.uint64), -1, 0)
    for _ in range(10):
        product0, product1 = MULTIPLIERS[0] * x0, MULTIPLIERS[1] * x2
        x0, x1, x2, x3 = (product1 >> HALF) ^ x1 ^ key0, product1 & LOW, (product0 >> HALF) ^ x3 ^ key1, product0 & LOW
        key0, key1 = (key0 + WEYL[0]) & LOW, (key1 + WEYL[1]) & LOW
    return np.stack([x0, x1, x2, x3], axis=-1)


def words(seed: int, count: int) -> np.ndarray:
    """The random word of each of `count` candidates: word w of counter 32 g + l is for candidate 128 g + 32 w + l."""
    counters = np.zeros(((count + 127) // 128 * 32, 4), dtype=np.uint64)
    counters[:, 0] = np.arange(len(counters))
    unsigned = seed % 2**64
    key = np.array([unsigned & 0xFFFFFFFF, unsigned >> 32], dtype=np.uint64)
    return philox(counters, key).reshape(-1, 32, 4).transpose(0, 2, 1).reshape(-1)[:count]


def sample_labels(
    matches: Tensor, num_samples: int, positive_fraction: float, seeds: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of each image: the positives (>= 0) and negatives (-1) with the smallest words, ties by the lower index.

    min(int(num_samples * fraction), P) positives, then negatives up to num_samples; index -1 in unused slots.
    """
    batch = len(matches)
    index = torch.full((batch, num_samples), -1, dtype=torch.int64)
    counts = torch.zeros(batch, 2, dtype=torch.int64)
    for image, (row, seed) in enumerate(zip(matches.numpy(), seeds.tolist(), strict=True)):
        order = np.argsort(words(seed, len(row)), kind="stable")
        positives = np.sort(order[row[order] >= 0][: int(num_samples * positive_fraction)])
        negatives = np.sort(order[row[order] == -1][: num_samples - len(positives)])
        taken = torch.from_numpy(np.concatenate([positives, negatives]))
        index[image, : len(taken)] = taken
        counts[image] = torch.tensor([len(positives), len(negatives)])
    return index, torch.arange(num_samples) < counts[:, :1], counts
