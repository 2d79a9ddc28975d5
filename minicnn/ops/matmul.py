"""The matrix product, over batches of matrices."""

from minicnn.ops.arithmetic import unbroadcast
from minicnn.ops.function import Function


class MatMul(Function):
    """Y = A B for matrices in the last two axes; dL/dA = dL/dY B^T, dL/dB = A^T dL/dY.

    The axes before them broadcast.
    """

    def forward(self, a, b):
        self.save(a, b)
        return a @ b  # (..., m, k) @ (..., k, n) -> (..., m, n)

    def backward(self, grad):
        a, b = self.saved
        need_a, need_b = self.needs_grad
        return (
            unbroadcast(grad @ b.swapaxes(-1, -2), a.shape) if need_a else None,
            unbroadcast(a.swapaxes(-1, -2) @ grad, b.shape) if need_b else None,
        )
