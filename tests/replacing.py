"""Changing the code under test from outside it, for programs where there is no ``monkeypatch``.

An assignment to a module makes a name that nobody reads when the code has renamed its own: the test goes on to pass,
and tries something else than it says.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable


def replace(owner: object, name: str, value: object) -> None:
    """Give what ``owner`` has under this name another value. Raises AttributeError when it has no such name."""
    getattr(owner, name)
    setattr(owner, name, value)


def replace_default(function: Callable[..., object], name: str, value: object) -> None:
    """Give a parameter another default, which was bound when the function was made.

    Raises KeyError when there is no such parameter, or none with a default.
    """
    parameters = inspect.signature(function).parameters
    own = inspect.unwrap(function)
    if parameters[name].default is inspect.Parameter.empty:
        raise KeyError(name)
    if parameters[name].kind is inspect.Parameter.KEYWORD_ONLY:
        own.__kwdefaults__[name] = value
        return
    having = [
        one for one, it in parameters.items() if it.default is not it.empty and it.kind is not it.KEYWORD_ONLY
    ]
    defaults = list(own.__defaults__)
    defaults[having.index(name)] = value
    own.__defaults__ = tuple(defaults)
