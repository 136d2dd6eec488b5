# SPDX-License-Identifier: Apache-2.0
"""Weights that others wrote: files of every usual kind, read without running what is in them, and tables of names."""

from ldie.weights.files import read_weights

__all__ = ["read_weights"]
