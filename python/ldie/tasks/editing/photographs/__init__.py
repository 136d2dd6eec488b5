# SPDX-License-Identifier: Apache-2.0
"""Photographs in files: read, edited by recipes and by words, planned, written."""
