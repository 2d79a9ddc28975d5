"""Drawings of the tape: which functions, applied to which tensors, made a result.

`draw` makes an indented text that starts at the result and goes down to the leaves; `to_dot` makes
the same graph in the language of Graphviz. Both walk with a stack of their own, so that a chain of
100,000 functions is drawn like any other.
"""

from collections.abc import Mapping

from minicnn.autograd import Tensor
from minicnn.autograd.tape import Node

MAX_INDENT = 40
"""Levels below this one are drawn at its indentation, or a long chain would fill a triangle."""


def draw(tensor: Tensor, names: Mapping[str, Tensor] | None = None) -> str:
    """Draw the graph behind `tensor` as text, one function a line, its inputs indented below it.

    >>> x, w = minicnn.ones(2, requires_grad=True), minicnn.ones(2, requires_grad=True)
    >>> y = x * w
    >>> print(draw((y + y).sum(), names={"x": x, "w": w}))
    #1 Sum ()
      #2 Add (2,)
        #3 Mul (2,)
          #4 leaf (2,) x
          #5 leaf (2,) w
        #3 (drawn above)

    Args:
        tensor: the result, before `backward` has freed its tape.
        names: names for tensors, for instance `dict(model.named_parameters())`.

    Raises:
        ValueError: for a tensor that is not on the tape.
        RuntimeError: where `backward` has freed the tape.
    """
    known = _names_of_nodes(names)
    numbers: dict[Node, int] = {}
    lines = []
    stack: list[tuple[Node | None, int]] = [(_node_of("draw", tensor), 0)]
    while stack:
        node, level = stack.pop()
        indent = "  " * min(level, MAX_INDENT)
        if node is None:
            lines.append(f"{indent}constant")
        elif node in numbers:
            lines.append(f"{indent}#{numbers[node]} (drawn above)")
        else:
            numbers[node] = len(numbers) + 1
            lines.append(f"{indent}#{numbers[node]} {_label(node)} {known.get(node, '')}".rstrip())
            stack.extend((parent, level + 1) for parent in reversed(_inputs_of("draw", node)))
    return "\n".join(lines)


def to_dot(tensor: Tensor, names: Mapping[str, Tensor] | None = None) -> str:
    """Describe the graph behind `tensor` in Graphviz's DOT: leaves are ellipses, functions boxes.

    Write it to a file and run `dot -Tsvg graph.dot -o graph.svg`. Arrows follow the computation,
    from the inputs to the result. Arguments and errors are those of `draw`.
    """
    known = _names_of_nodes(names)
    numbers: dict[Node, int] = {}
    statements, edges = [], []
    stack = [_node_of("to_dot", tensor)]
    while stack:
        node = stack.pop()
        if node in numbers:
            continue
        numbers[node] = len(numbers) + 1
        text = f"{_label(node)}\n{known[node]}" if node in known else _label(node)
        shape = "ellipse" if node.function is None else "box"
        statements.append(f"  n{numbers[node]} [label={_quoted(text)}, shape={shape}];")
        parents = [parent for parent in _inputs_of("to_dot", node) if parent is not None]
        edges.extend((parent, node) for parent in parents)
        stack.extend(reversed(parents))
    arrows = [f"  n{numbers[parent]} -> n{numbers[node]};" for parent, node in edges]
    return "\n".join(["digraph tape {", "  rankdir=BT;", *statements, *arrows, "}"])


def _node_of(where: str, tensor: Tensor) -> Node:
    """Return the place of `tensor` on the tape."""
    if tensor.node is None:
        raise ValueError(
            f"{where}: this tensor of shape {tensor.shape} is not on the tape; set "
            "requires_grad=True on an input, and compute outside no_grad()"
        )
    return tensor.node


def _inputs_of(where: str, node: Node) -> tuple[Node | None, ...]:
    """Return the inputs of a node, None for a constant."""
    if node.parents is None:
        raise RuntimeError(
            f"{where}: the tape was freed by backward() (at {node.function.name}, output shape "
            f"{node.shape}); draw before backward(), or keep the tape with retain_graph=True"
        )
    return node.parents


def _names_of_nodes(names: Mapping[str, Tensor] | None) -> dict[Node, str]:
    """Return the name of each node that has one."""
    return {tensor.node: name for name, tensor in (names or {}).items() if tensor.node is not None}


def _label(node: Node) -> str:
    """Return the function's name and the shape of its result."""
    return f"{'leaf' if node.function is None else node.function.name} {node.shape}"


def _quoted(text: str) -> str:
    """Return `text` as a DOT string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
