"""csrc/host/module.cpp."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

def build_info() -> dict[str, str]: ...
def encode_masks(masks: npt.NDArray[np.uint8]) -> list[bytes]: ...
def decode_masks(counts: Sequence[bytes | str], height: int, width: int) -> npt.NDArray[np.uint8]: ...
