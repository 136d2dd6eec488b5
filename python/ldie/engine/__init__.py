# SPDX-License-Identifier: Apache-2.0
"""One training loop for all systems: checkpoints, logging, evaluation, pictures, distribution."""
