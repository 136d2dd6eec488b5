# SPDX-License-Identifier: Apache-2.0
"""Run by torchrun from test_ranks_messages.py: the command line, with the toy among its systems."""

import sys

from ldie.cli import main
from ldie.systems import SYSTEMS

SYSTEMS["toy"] = "engine.toy"

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
