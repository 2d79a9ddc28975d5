"""Convolution, activation and max pooling as one function; `conv2d(..., max_pool=...)` calls it."""

from minicnn.kernels import conv_pool
from minicnn.ops.function import Function


class Conv2dMaxPool2d(Function):
    """y = the largest element of each window of a convolution, after ReLU if there is one.

    The winner alone gets the window's gradient, and with ReLU nobody does where y is 0. What went
    into the losers has no influence, so that backward follows the winners to what they saw.
    """

    def __init__(self, stride, padding, dilation, pool, relu):
        self.settings = (stride, padding, dilation, pool)
        self.relu = relu

    def forward(self, x, weight, bias):
        self.input_shape = x.shape
        y, winner, framed = conv_pool.conv2d_max_pool2d(x, weight, bias, *self.settings, self.relu)
        self.save(framed, weight, winner)
        return y  # (N, K, PH, PW)

    def backward(self, grad):
        framed, weight, winner = self.saved
        need_x, need_weight, need_bias = self.needs_grad
        grad_x, grad_weight, grad_bias = conv_pool.conv2d_max_pool2d_grad(
            grad, winner, framed, weight, self.input_shape, *self.settings, need_x
        )
        return grad_x, grad_weight if need_weight else None, grad_bias if need_bias else None
