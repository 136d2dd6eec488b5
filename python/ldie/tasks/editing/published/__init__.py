# SPDX-License-Identifier: Apache-2.0
"""MA5k-Req and GIER: pairs of pictures with requests as they were published, and plans of their edits."""
