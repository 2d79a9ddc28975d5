"""What every differentiable function of the framework looks like.

A `Function` knows mathematics and nothing else: `forward` turns arrays into an array, and
`backward`, written directly under it, turns the gradient of the output into the gradients of the
inputs. Tensors, the tape and the chain rule live one floor higher, in `minicnn.autograd`; a
Function can be called, tested and timed without them.
"""

from minicnn.backend import Array


class Function:
    """A function of arrays and its vector-Jacobian product.

    An instance serves one call. Settings (a stride, an axis) are arguments of `__init__`; arrays
    are arguments of `forward`. For y = f(x1, x2, ...) and a scalar loss L, `backward` receives
    dL/dy and returns dL/dx1, dL/dx2, ...

    Four rules:
    - Arguments and incoming gradients are never changed.
    - Each gradient has the shape and dtype of its input.
    - What `backward` needs is handed to `save`, so that the tape can watch it and free it.
    - `backward` gives its results away. Each is memory of its own, which the tape may keep as a
      `.grad` or add to; or it is (a view of) the incoming gradient, a saved array or another
      result, which the tape recognises, and copies where it must.
    """

    saved: tuple[Array | None, ...] = ()
    """The arrays that `backward` needs."""

    needs_grad: tuple[bool, ...] = ()
    """For each input, whether somebody wants its gradient. Set before `forward` runs."""

    returns_view = False
    """Whether the output is the first input's numbers, seen in another way: nothing is computed."""

    def forward(self, *arrays: Array | None) -> Array:
        """Return the value of the function; None stands for an optional input that is absent."""
        raise NotImplementedError(f"{self.name} defines no forward")

    def backward(self, grad: Array) -> tuple[Array | None, ...]:
        """Return one gradient for each input of `forward`; None where there is none."""
        raise NotImplementedError(f"{self.name} defines no backward")

    def save(self, *arrays: Array | None) -> None:
        """Keep `arrays` for `backward`, which finds them in `self.saved`."""
        self.saved = arrays

    @property
    def name(self) -> str:
        """The name that error messages and drawings of the graph use."""
        return type(self).__name__
