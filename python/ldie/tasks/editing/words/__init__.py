# SPDX-License-Identifier: Apache-2.0
"""Words of requests: their numbers and vectors, and rules on what they mean."""
