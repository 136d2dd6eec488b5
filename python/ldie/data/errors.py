# SPDX-License-Identifier: Apache-2.0
"""The one exception of data that cannot be used."""


class DataError(ValueError):
    """A file or folder that cannot be used; one line that names it, says what is wrong and what to do."""
