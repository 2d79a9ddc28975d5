"""The elementary differentiable functions, on arrays. Tensors are built on top of them."""
