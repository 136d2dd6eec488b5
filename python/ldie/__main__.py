# SPDX-License-Identifier: Apache-2.0
"""``python -m ldie`` is ``ldie``."""

import sys

from ldie.cli import main

sys.exit(main())
