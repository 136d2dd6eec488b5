# SPDX-License-Identifier: Apache-2.0
"""Pickles without their power: a reader that builds plain values and what a table names, and runs nothing else.

A pickle is a program for a stack machine. Of its instructions this machine has those that make data; a name in a pickle
leads to a function of ours from the reader's table or is refused, never to an import. What a small file could blow up
(lengths it does not have, tables of any size, keys that take forever to hash) is bounded.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any

MOST_STEPS = 5_000_000
"""Instructions of one pickle; a large checkpoint has some ten thousand."""
_USES = 4
"""How often a pickle uses a byte of its own to make something; arrays of protocol 2 do so twice."""
ENCODING = "latin1"
"""Of the byte strings of Python 2, such as the contents of its arrays."""


class Stateful:
    """A value that a pickle completes after it made it."""

    def take(self, state: Any) -> None:
        """Takes the state that the pickle has for it; here it is of no interest."""


class Inert(Stateful):
    """What stands for an object that nobody needs: it keeps nothing and does nothing."""


@dataclass(frozen=True)
class Known:
    """What a name in a pickle leads to."""

    name: str
    make: Callable[..., Any] | None = None
    """Called with the pickle's arguments; None: the name alone has a meaning."""


Table = Mapping[str, Callable[..., Any] | None]
"""What the names of a kind of pickle lead to."""


def read_pickle(file: IO[bytes], table: Table, persistent: Callable[[Any], Any] | None = None) -> Any:
    """The value of the pickle that begins here, of protocol 2 to 5; the file stands behind it then.

    Args:
        file: Seekable.
        table: All names that may occur.
        persistent: What stands for a persistent id; None: there are none.

    Raises:
        pickle.UnpicklingError: It holds anything else, or is cut off.
    """
    return _Machine(_Bounded(file), table, persistent).load()


class _Bounded:
    """A file of which no more can be asked than is left."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        start = file.tell()
        self._end = file.seek(0, 2)
        self.size = self._end - start
        file.seek(start)
        self.readline = file.readline

    def read(self, count: int) -> bytes:
        if not 0 <= count <= self._end - self._file.tell():
            raise pickle.UnpicklingError("it is cut off")
        return self._file.read(count)


class _Steps(dict[int, Callable[[Any], None]]):
    """Instructions by code, counted."""

    left = MOST_STEPS

    def __getitem__(self, code: int) -> Callable[[Any], None]:
        self.left -= 1
        if self.left < 0:
            raise pickle.UnpicklingError(f"more than {MOST_STEPS} values")
        return super().__getitem__(code)

    def __missing__(self, code: int) -> Callable[[Any], None]:
        raise refusal(f"instruction {code:#04x}")


def refusal(what: str) -> pickle.UnpicklingError:
    """The error of a pickle that holds what only code can make."""
    return pickle.UnpicklingError(
        f"it holds Python objects besides tensors, and they could run code: {' '.join(what.split())[:100]}"
    )


class _Machine(pickle._Unpickler):  # the one in C takes whatever instruction comes
    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: _Bounded, table: Table, persistent: Callable[[Any], Any] | None) -> None:
        super().__init__(file, encoding=ENCODING)
        self.dispatch = _Steps(_INSTRUCTIONS)  # type: ignore[misc]  # each machine counts its own
        self._left = _USES * file.size + MOST_STEPS
        self._table = table
        self._persistent = persistent

    def find_class(self, module: str, name: str) -> Known:
        full = f"{module}.{name}"
        if full not in self._table:
            raise refusal(full)
        return Known(full, self._table[full])

    def persistent_load(self, pid: Any) -> Any:
        if self._persistent is None:
            raise refusal("a persistent id")
        return self._persistent(pid)

    def _charge(self, values: Any) -> None:
        """Counts what a call or a state is given: a few bytes can give the same large value again and again."""
        if not isinstance(values, tuple):
            return
        sized = (value for value in values if isinstance(value, (str, bytes, bytearray, list, tuple)))
        self._left -= len(values) + sum(len(value) for value in sized)
        if self._left < 0:
            raise pickle.UnpicklingError("more is made of its values than it has")

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack[-1]
        self._charge(arguments)
        if not isinstance(function, Known) or function.make is None or not isinstance(arguments, tuple):
            raise refusal(f"a call of {getattr(function, 'name', type(function).__name__)}")
        self.stack[-1] = function.make(*arguments)

    def load_build(self) -> None:
        state, value = self.stack.pop(), self.stack[-1]
        if isinstance(value, Stateful):
            self._charge(state)
            value.take(state)
        elif not isinstance(value, dict):  # an OrderedDict's own attributes are dropped
            raise refusal(f"a state of {getattr(value, 'name', type(value).__name__)}")

    def load_bytearray8(self) -> None:
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))

    def load_append(self) -> None:
        value = self.stack.pop()
        _list(self.stack[-1]).append(value)

    def load_appends(self) -> None:
        values = self.pop_mark()
        _list(self.stack[-1]).extend(values)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        put(self.stack[-1], key, value)

    def load_setitems(self) -> None:
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            put(self.stack[-1], key, value)


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise refusal(f"a {type(value).__name__} that is filled")
    return value


_KEY_BITS = 64
_KEYS = (str, int, float, bool, bytes, type(None))


def put(mapping: Any, key: Any, value: Any) -> None:
    """Sets an entry of a mapping; keys are plain, as tuples of tuples and long numbers can take forever to hash."""
    if type(mapping) is not dict or type(key) not in _KEYS or (type(key) is int and key.bit_length() > _KEY_BITS):
        raise refusal(f"a {type(mapping).__name__} with a key of type {type(key).__name__}")
    mapping[key] = value


def _instructions() -> dict[int, Callable[[Any], None]]:
    """Those that make plain data as protocols 2 to 5 write it, and those that the machine has its own rules for."""
    plain = """
        PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT
        BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BINUNICODE SHORT_BINUNICODE BINUNICODE8
        EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST EMPTY_DICT GLOBAL STACK_GLOBAL BINPERSID
        BINGET LONG_BINGET BINPUT LONG_BINPUT MEMOIZE
    """
    codes = {name: getattr(pickle, name)[0] for name in plain.split()}
    return {code: pickle._Unpickler.dispatch[code] for code in codes.values()} | {
        pickle.REDUCE[0]: _Machine.load_reduce,
        pickle.NEWOBJ[0]: _Machine.load_reduce,
        pickle.BUILD[0]: _Machine.load_build,
        pickle.BYTEARRAY8[0]: _Machine.load_bytearray8,
        pickle.APPEND[0]: _Machine.load_append,
        pickle.APPENDS[0]: _Machine.load_appends,
        pickle.SETITEM[0]: _Machine.load_setitem,
        pickle.SETITEMS[0]: _Machine.load_setitems,
    }


_INSTRUCTIONS = _instructions()
