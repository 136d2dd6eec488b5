"""Plain PyTorch references of the operators: one module per family, the public signatures, any float dtype.

They are written to be read, not to be fast: a loop per object and the formula of the paper. Tests compare every
backend with them. Each docstring also fixes what the published code leaves open (empty input, NaN, ties).
"""
