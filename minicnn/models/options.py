"""Builders that hand options on to another one, and show in `help()` which these are."""

import inspect
from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = ["takes_options_of"]

Builder = TypeVar("Builder", bound=Callable)


def takes_options_of(target: Callable, given: Sequence[str] = ()) -> Callable[[Builder], Builder]:
    """Show the options of `target` in the signature of a function that passes its **options on to it.

    The networks of a family differ in a few numbers. A builder such as `resnet18` sets these, and hands
    everything else on; so that `help(resnet18)` and an editor's completion tell what that may be, the
    signature names it. What the function does stays as it is written.

        @takes_options_of(ResNet)
        def resnet18(num_classes=1000, **options): ...

    Args:
        target: a function or class. Of its parameters, those with a default are options.
        given: options that the function sets itself.
    """

    def show(function: Builder) -> Builder:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        known = {parameter.name for parameter in own} | set(given)
        handed_on = [
            parameter.replace(kind=parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(target).parameters.values()
            if parameter.default is not parameter.empty and parameter.name not in known
        ]
        function.__signature__ = signature.replace(parameters=[*own, *handed_on])
        return function

    return show
