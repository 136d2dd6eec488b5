# SPDX-License-Identifier: Apache-2.0
"""Editing for models that judge: labels of requests, answers and what is none."""
