# SPDX-License-Identifier: Apache-2.0
"""The spellings of weights that training can start from."""

from __future__ import annotations

from ldie.nn.pretrained import Spelling
from ldie.weights.names import NameTable

SPELLINGS = (Spelling(NameTable({"*": "*"})),)
"""What a file may be in; ours first."""
