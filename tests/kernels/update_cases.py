"""Rules of optimizers, and parameters of many shapes, for the tests of all implementations."""

from tests.checks import in_memory, normal

SHAPES = [(3, 2, 5, 5), (4,), (), (0,), (2, 1, 3, 1), (300, 200)]
RULES = {
    "sgd": ("sgd", [False], (0.1, 0.0, 0.0, 0.01, False)),
    "momentum": ("sgd", [True], (0.1, 0.9, 0.2, 0.0, False)),
    "nesterov": ("sgd", [True], (0.1, 0.9, 0.0, 0.01, True)),
    "adam": ("adam", [True, True, False], (3, 0.1, (0.9, 0.99), 1e-8, 0.01, False)),
    "adamw": ("adam", [True, True, False], (3, 0.1, (0.9, 0.99), 1e-8, 0.01, True)),
    "amsgrad": ("adam", [True, True, True], (3, 0.1, (0.9, 0.99), 1e-8, 0.0, False)),
    "rmsprop": ("rmsprop", [True, False, False], (0.1, 0.9, 1e-8, 0.01, 0.0)),
    "rmsprop with momentum": ("rmsprop", [True, False, True], (0.1, 0.9, 1e-8, 0.0, 0.5)),
    "centered": ("rmsprop", [True, True, False], (0.1, 0.9, 1e-8, 0.0, 0.0)),
    "centered with momentum": ("rmsprop", [True, True, True], (0.1, 0.9, 1e-8, 0.0, 0.5)),
}


def columns(present, dtype="float64", order="contiguous", grad_order="contiguous"):
    """Return parameters, gradients and positive memory, the first the largest; None for what is not `present`."""

    def remembered(index, shape):
        return (index == 0) + abs(0.1 * normal(*shape, seed=2 + index))

    kept = [
        [in_memory(remembered(index, s).astype(dtype), order) for s in SHAPES] if there else None
        for index, there in enumerate(present)
    ]
    params = [in_memory(normal(*shape, dtype=dtype), order) for shape in SHAPES]
    grads = [in_memory(normal(*shape, seed=1, dtype=dtype), grad_order) for shape in SHAPES]
    return params, grads, *kept
