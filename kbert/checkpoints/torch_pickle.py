"""What a pickle of `torch.save` stands for, found without running it.

A pickle is a program that may call anything. This one is only read: its instructions are walked
over values that stand for what they would make, so nothing is imported and nothing is called. The
tensor constructors are understood; whatever else a file asks for is noted, and the file refused.
"""

from __future__ import annotations

import dataclasses
import pickletools
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from kbert.errors import BadInput

# that of a model with 1,000 tensors takes 130 kB
LONGEST = 4 << 20

_STORAGES = {
    "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch.BoolStorage": np.dtype(np.bool_),
    "torch.ByteStorage": np.dtype("u1"),
    "torch.CharStorage": np.dtype("i1"),
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.LongStorage": np.dtype("<i8"),
    "torch.ShortStorage": np.dtype("<i2"),
}
_ORDERED, _PARAMETER = "collections.OrderedDict", "torch._utils._rebuild_parameter"
# constructor -> numbers of arguments that it takes
_TENSORS = {"torch._utils._rebuild_tensor": (4,), "torch._utils._rebuild_tensor_v2": (6, 7)}
KNOWN = frozenset((_ORDERED, _PARAMETER, *_TENSORS, *_STORAGES))


@dataclasses.dataclass(frozen=True, eq=False)
class Storage:
    """A stretch of numbers.

    Attributes:
        key: by which the file has it.
        dtype: of a number.
        count: numbers in it.
        first, size: the part that this is a view of.
    """

    key: str
    dtype: np.dtype
    count: int
    first: int
    size: int


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """The arguments of a tensor's constructor as they stand, whatever they are."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any


class _Name:
    """Something that the file asks to be imported."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Made:
    """What would come of calling a name that is not resolved."""


class Malformed(Exception):
    """The pickle is none that torch writes; the words say why."""


def walk(opened: Any, where: str) -> tuple[Any, dict[str, Storage]]:
    """Reads one pickle, and leaves the file behind it.

    Args:
        opened: a file of bytes.
        where: its name, for messages.

    Returns:
        The value, in which a `Tensor` stands for a tensor; storage key -> storage.

    Raises:
        BadInput: it asks for something that is no tensor constructor, or is malformed.
    """
    machine, value, problem = _Machine(), None, ""
    try:
        value = machine.run(opened)
    except Malformed as error:
        problem = str(error)
    except ValueError:  # by pickletools
        problem = "cut short or damaged"
    if machine.asked:
        asked = list(dict.fromkeys(map(_legible, machine.asked)))
        names = ", ".join(asked[:3]) + (", ..." if len(asked) > 3 else "")
        raise BadInput(f"{where}: asks for {names}; kbert resolves tensor constructors only")
    if problem:
        raise BadInput(f"{where}: no pickle of tensors by torch: {problem}")
    return value, machine.storages


def kind(value: Any) -> str:
    """What a value is, in a word."""
    return type(value).__name__.lstrip("_").lower()


def shown(text: str) -> str:
    """A name out of a file, in quotation marks, on one line and of a bearable length."""
    return repr(text if len(text) <= 100 else text[:97] + "...")


def sizes(values: Any) -> bool:
    """Whether these are sizes: whole numbers from 0 up that a machine can count to."""
    return isinstance(values, tuple | list) and all(
        type(value) is int and 0 <= value < 1 << 63 for value in values
    )


def _legible(name: str) -> str:
    return name if name.isprintable() and len(name) <= 100 else shown(name)


class _Machine:
    """The instructions of a pickle, over values that stand for others.

    Attributes:
        asked: names that are not resolved.
        storages: key -> storage, of all that the pickle names.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.storages: dict[str, Storage] = {}
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._pairs = 0

    def run(self, opened: Any) -> Any:
        start = opened.tell()
        for opcode, argument, at in pickletools.genops(opened):
            if at - start > LONGEST:
                raise Malformed(f"longer than {LONGEST} bytes")
            name = opcode.name
            if name == "STOP":
                return self._pop()
            if name in _CONSTANTS:
                self._stack.append(argument)
            elif name in _ACTIONS:
                _ACTIONS[name](self, argument)
            elif name not in ("PROTO", "FRAME"):
                raise Malformed(f"it holds {name}")
        raise Malformed("it does not end")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise Malformed("it takes what is not there")
        return self._stack.pop()

    def _pop_many(self, count: int) -> tuple[Any, ...]:
        return tuple(self._pop() for _ in range(count))[::-1]

    def _pop_mark(self) -> list[Any]:
        if not self._marks:
            raise Malformed("it takes what is not there")
        mark = self._marks.pop()
        taken = self._stack[mark:]
        del self._stack[mark:]
        return taken

    def _top(self) -> Any:
        self._push(self._pop())
        return self._stack[-1]

    def _put(self, place: int | None) -> None:
        self._memo[len(self._memo) if place is None else place] = self._top()

    def _get(self, place: int) -> None:
        if place not in self._memo:
            raise Malformed("it takes what is not there")
        self._push(self._memo[place])

    def _append(self, values: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, list):
            raise Malformed(f"it appends to a value of kind {kind(target)}")
        target.extend(values)

    def _set(self, values: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, dict):
            raise Malformed(f"it sets items of a value of kind {kind(target)}")
        if len(values) % 2:
            raise Malformed("a key without a value")
        for key, value in zip(values[::2], values[1::2], strict=True):
            # the hash of tuples within tuples could take for ever
            if type(key) is not str:
                raise Malformed(f"found a key of kind {kind(key)}, expected names")
            target[key] = value

    def _name(self, name: str) -> None:
        if name not in KNOWN:
            self.asked.append(name)
        self._push(_Name(name))

    def _global(self, named: str) -> None:
        self._name(named.replace(" ", ".", 1))

    def _instance(self, named: str) -> None:
        self._pop_mark()
        self._global(named)

    def _stack_name(self, _: Any) -> None:
        module, name = self._pop_many(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise Malformed("it asks for a name that is none")
        self._name(f"{module}.{name}")

    def _call(self, _: Any) -> None:
        name, arguments = self._pop_many(2)
        if not isinstance(name, _Name) or not isinstance(arguments, tuple):
            raise Malformed(f"it calls a value of kind {kind(name)}")
        count = len(arguments)
        if name.name not in KNOWN:
            self._push(_Made())
        elif name.name in _TENSORS and count in _TENSORS[name.name]:
            self._push(Tensor(*arguments[:4]))
        elif name.name == _PARAMETER and count == 3 and isinstance(arguments[0], Tensor):
            self._push(arguments[0])
        elif name.name == _ORDERED and count <= 1:
            self._ordered(*arguments)
        else:
            raise Malformed(f"{name.name} with {count} arguments, or others than it takes")

    def _ordered(self, pairs: Any = ()) -> None:
        """Python 2 gave it a list of pairs."""
        self._push({})
        if not isinstance(pairs, list | tuple) or any(
            not isinstance(pair, list | tuple) or len(pair) != 2 for pair in pairs
        ):
            raise Malformed("a dictionary of something other than pairs")
        # one long list taken again and again could take for ever
        self._pairs += len(pairs)
        if self._pairs > LONGEST:
            raise Malformed("more pairs than it can hold")
        self._set([value for pair in pairs for value in pair])

    def _state(self, _: Any) -> None:
        """`state_dict` hangs versions of its modules on the dictionary; they say nothing here."""
        self._pop()
        if not isinstance(self._top(), dict):
            raise Malformed(f"it sets the state of a value of kind {kind(self._top())}")

    def _storage(self, _: Any) -> None:
        """('storage', type, key, device, count), and before torch 1.6 what it is a view of."""
        asked = self._pop()
        if not isinstance(asked, tuple) or len(asked) not in (5, 6) or asked[0] != "storage":
            raise Malformed("it refers to something other than a storage")
        _, its, key, _, count, *view = asked
        if not isinstance(its, _Name) or not isinstance(key, str) or not sizes((count,)):
            raise Malformed("it refers to a storage without type, key or size")
        first, size = 0, count
        if view and view[0] is not None:
            if not isinstance(view[0], tuple) or len(view[0]) != 3 or not sizes(view[0][1:]):
                raise Malformed("a view of a storage without its place")
            _, first, size = view[0]
        if its.name not in _STORAGES:
            self._push(_Made())
            if its.name in KNOWN:
                raise Malformed(f"a storage of type {its.name}")
            return
        storage = Storage(key, _STORAGES[its.name], count, first, size)
        before = self.storages.setdefault(key, storage)
        if (before.dtype, before.count) != (storage.dtype, count) or first + size > count:
            raise Malformed(f"two accounts of storage {shown(key)}")
        self._push(storage)

    def _mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def _drop(self, _: Any) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._pop()


# instructions that carry their value with them
_CONSTANTS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
}

_ACTIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    "NONE": lambda m, _: m._push(None),
    "NEWTRUE": lambda m, _: m._push(True),
    "NEWFALSE": lambda m, _: m._push(False),
    "EMPTY_TUPLE": lambda m, _: m._push(()),
    "EMPTY_LIST": lambda m, _: m._push([]),
    "EMPTY_DICT": lambda m, _: m._push({}),
    "TUPLE1": lambda m, _: m._push(m._pop_many(1)),
    "TUPLE2": lambda m, _: m._push(m._pop_many(2)),
    "TUPLE3": lambda m, _: m._push(m._pop_many(3)),
    "TUPLE": lambda m, _: m._push(tuple(m._pop_mark())),
    "LIST": lambda m, _: m._push(m._pop_mark()),
    "APPEND": lambda m, _: m._append(list(m._pop_many(1))),
    "APPENDS": lambda m, _: m._append(m._pop_mark()),
    "SETITEM": lambda m, _: m._set(list(m._pop_many(2))),
    "SETITEMS": lambda m, _: m._set(m._pop_mark()),
    "MARK": _Machine._mark,
    "POP": _Machine._drop,
    "POP_MARK": lambda m, _: m._pop_mark(),
    "DUP": lambda m, _: m._push(m._top()),
    "PUT": _Machine._put,
    "BINPUT": _Machine._put,
    "LONG_BINPUT": _Machine._put,
    "MEMOIZE": _Machine._put,
    "GET": _Machine._get,
    "BINGET": _Machine._get,
    "LONG_BINGET": _Machine._get,
    "GLOBAL": _Machine._global,
    "INST": _Machine._instance,
    "STACK_GLOBAL": _Machine._stack_name,
    "REDUCE": _Machine._call,
    "BUILD": _Machine._state,
    "BINPERSID": _Machine._storage,
}
