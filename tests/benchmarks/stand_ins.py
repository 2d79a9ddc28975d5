"""Modules called `cupy` for processes that a test starts: the stand-in, or one that is broken in some way."""

import os
from pathlib import Path

STAND_IN = """
import sys
from tests.gpu.cuda_on_host.host_module import equip
from tests.gpu.strict_cupy import make_cupy, make_cupyx, ndarray

library = ndarray.cupy = make_cupy()
equip(library)
sys.modules.update({"cupy": library, "cupy.cuda": library.cuda, **make_cupyx()})
"""

LOST_AT = """
from tests.gpu.strict_streams import CUDARuntimeError

copyto = library.copyto
def illegal(*arguments):
    def fail(self):
        raise CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access")
    library.cuda.Device.synchronize = fail
    fail(None)
library.copyto = illegal
"""
"""After this the copy of a card fails, and every call that waits for it does, too."""


def cupy_in(folder: Path, source: str = STAND_IN) -> str:
    """Write the module into a folder; return what PYTHONPATH has to be for it."""
    folder.mkdir(exist_ok=True)
    (folder / "cupy.py").write_text(source)
    return os.pathsep.join([str(folder), str(Path(__file__).parents[2])])
