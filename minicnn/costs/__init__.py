"""What a network costs: multiply-adds, parameters, memory, and what its layers see of the image.

counting         `cost` runs a network once and returns a `Cost`, which prints as a table
trace            the pass that watches it
rules            multiply-adds, and the patches of im2col, of one call
receptive_field  what a position of a feature map depends on
table            numbers as text, in columns
"""

from minicnn.costs.counting import Cost, Row, cost
from minicnn.costs.receptive_field import Extent, ReceptiveField

__all__ = ["Cost", "Extent", "ReceptiveField", "Row", "cost"]
