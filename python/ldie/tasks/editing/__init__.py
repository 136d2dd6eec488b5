# SPDX-License-Identifier: Apache-2.0
"""Editing: pictures with requests, steps that answer them, recipes for photographs."""
