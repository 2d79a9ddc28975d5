"""The dense layer as a function."""

from minicnn.ops.function import Function
from minicnn.tensor import Tensor, apply


class Linear(Function):
    """Y = X W^T + b for every row of X; dL/dX = dL/dY W, dL/dW = dL/dY^T X, dL/db = sum of the rows of dL/dY."""

    def forward(self, x, weight, bias):
        self.save(x, weight)
        y = x.reshape(-1, x.shape[-1]) @ weight.T  # (rows, in) @ (in, out) -> (rows, out)
        if bias is not None:
            y += bias
        return y.reshape(*x.shape[:-1], weight.shape[0])

    def backward(self, grad):
        x, weight = self.saved
        need_x, need_weight, need_bias = self.needs_grad
        rows = grad.reshape(-1, weight.shape[0])  # (rows, out)
        return (
            (rows @ weight).reshape(x.shape) if need_x else None,
            rows.T @ x.reshape(-1, x.shape[-1]) if need_weight else None,  # (out, in)
            rows.sum(axis=0) if need_bias else None,
        )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x W^T + b.

    Args:
        x: (..., in).
        weight: (out, in).
        bias: (out,) or None.

    Returns:
        (..., out), in the dtype of the arguments, which must agree.

    Raises:
        ValueError: where the shapes do not fit.
        TypeError: for mixed dtypes.
    """
    if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        hint = ""
        if x.ndim > 2 and weight.ndim == 2 and x[0].numel() == weight.shape[1]:
            hint = "; flatten the axes after the batch first (nn.Flatten(), x.flatten(1))"
        raise ValueError(
            f"linear: expected x of shape (..., in) for a weight of shape (out, in) = {weight.shape}, got x of "
            f"shape {x.shape}{hint}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"linear: expected a bias of shape {weight.shape[:1]}, got {bias.shape}")
    check_dtypes("linear", x, weight, bias)
    return apply(Linear(), x, weight, bias)


def check_dtypes(where: str, x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    """Refuse inputs and parameters of different dtypes.

    Raises:
        TypeError: naming all of them, and the conversion that helps.
    """
    if x.dtype == weight.dtype and (bias is None or bias.dtype == x.dtype):
        return
    bias_text = "" if bias is None else f", bias {bias.dtype}"
    raise TypeError(
        f"{where}: input and parameters must have one dtype, got input {x.dtype} of shape {x.shape}, weight "
        f"{weight.dtype}{bias_text}; convert the input with x.to(weight.dtype), or the module with .double() or .float()"
    )
