# SPDX-License-Identifier: Apache-2.0
"""The one loop, its schedules, checkpoints, log and ranks; it knows no task and no system."""
