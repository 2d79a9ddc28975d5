"""Kernels in CUDA C++ (*.cu), called through CuPy; the siblings of those of the same name in ../cpu/."""
