# SPDX-License-Identifier: Apache-2.0
"""Editing: photographs read and written whole, recipes applied to them, and pages to look at the result."""
