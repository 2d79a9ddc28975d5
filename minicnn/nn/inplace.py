"""The setting `inplace`: accepted for PyTorch's sake, it changes nothing."""

from minicnn.nn.module import Module


class AcceptsInplace(Module):
    """What layers with the setting `inplace` share.

    Raises:
        TypeError: for anything but True or False, such as the tensor of `nn.ReLU(x)`.
    """

    def __init__(self, inplace: bool = False):
        super().__init__()
        if not isinstance(inplace, bool):
            layer = type(self).__name__
            raise TypeError(
                f"{layer}: inplace: expected True or False, got {type(inplace).__name__}; a layer is made first and "
                f"then called, nn.{layer}()(x), unlike the functions of nn.functional, such as F.relu(x)"
            )
        self.inplace = inplace
