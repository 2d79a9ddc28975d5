"""Kernels for the CPU, compiled by Numba when they are first called. Import the modules one by one: they need Numba."""
