# SPDX-License-Identifier: Apache-2.0
"""CenterNet over three image scales, trained against a masked discriminator of scales."""

from ldie.systems.centernet.config import CenterNetConfig
from ldie.systems.centernet.system import CenterNet

__all__ = ["CenterNet", "CenterNetConfig"]
