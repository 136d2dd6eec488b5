# SPDX-License-Identifier: Apache-2.0
"""How near edits come to what was asked."""
