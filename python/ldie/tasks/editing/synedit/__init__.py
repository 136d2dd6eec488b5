# SPDX-License-Identifier: Apache-2.0
"""SynEdit: generated pictures, edits and requests whose truth is known."""
