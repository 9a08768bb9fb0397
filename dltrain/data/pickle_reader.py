"""Reads the few pickles that data and weights are published in, and never unpickles: nothing is imported or called.

A pickle is a program for a small stack machine. Python's own runs whatever the program asks for, and even
an allow-list of numpy's functions can be made to crash by damaged bytes. This one knows only the opcodes
that stand in one kind of file, and turns a call into a plain record of it, `Call`. The table here is of what
Python 2 wrote into CIFAR's files; that of PyTorch's checkpoints is in `dltrain/weights/pth.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dltrain.errors import DataError


@dataclass
class Call:
    """What unpickling would have called: a function's name and its arguments, then the state of what it gave."""

    function: Any
    arguments: Any
    state: Any = None


@dataclass(frozen=True)
class Global:
    """The name of something that unpickling would have imported."""

    name: bytes


class Machine:
    """The bytes and where we are in them; the stack, the stacks below the marks, and what has been given a number.
    IndexError: damaged."""

    def __init__(self, data: bytes):
        self.data = data
        self.view = memoryview(data)
        self.at = 0
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def take(self, count: int) -> memoryview:
        end = self.at + count
        if end > len(self.data):
            raise IndexError(f"{count} bytes are wanted but {len(self.data) - self.at} are left")
        piece, self.at = self.view[self.at : end], end
        return piece

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.at, self.at + 100)
        if end < 0:
            raise IndexError("a name does not end")
        return bytes(self.take(end + 1 - self.at))[:-1]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def popped(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise IndexError("nothing is left on the stack")
        values = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return values

    def since_mark(self) -> list[Any]:
        values, self.stack = self.stack, self.below.pop()
        return values

    def top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise IndexError(f"a {kind.__name__.lower()} should be on the stack")
        return self.stack[-1]


def _mark(m: Machine) -> None:
    m.below.append(m.stack)
    m.stack = []


def _appends(m: Machine) -> None:
    values = m.since_mark()
    m.top(list).extend(values)


def _set_items(m: Machine) -> None:
    values = m.since_mark()
    if len(values) % 2 or not all(type(key) in (bytes, str, int) for key in values[::2]):
        raise IndexError("a dictionary needs pairs of a text, or a number, and a value")
    m.top(dict).update(zip(values[::2], values[1::2], strict=True))


def _build(m: Machine) -> None:
    (state,) = m.popped(1)
    m.top(Call).state = state


def _protocol(m: Machine) -> None:
    if m.number(1) != 2:
        raise IndexError("only protocol 2 is read")


Opcodes = dict[int, Callable[[Machine], Any]]

# Opcode -> what it does, under the names of Python's pickletools. Memo numbers are skipped: the files refer to none.
OPCODES: Opcodes = {
    0x80: _protocol,  # PROTO
    ord("}"): lambda m: m.push({}),  # EMPTY_DICT
    ord("]"): lambda m: m.push([]),  # EMPTY_LIST
    ord("N"): lambda m: m.push(None),  # NONE
    0x89: lambda m: m.push(False),  # NEWFALSE
    ord("K"): lambda m: m.push(m.number(1)),  # BININT1
    ord("M"): lambda m: m.push(m.number(2)),  # BININT2
    ord("J"): lambda m: m.push(int.from_bytes(m.take(4), "little", signed=True)),  # BININT
    ord("U"): lambda m: m.push(bytes(m.take(m.number(1)))),  # SHORT_BINSTRING
    ord("T"): lambda m: m.push(m.take(m.number(4))),  # BINSTRING: the images, not copied
    ord("c"): lambda m: m.push(Global(m.line() + b" " + m.line())),  # GLOBAL
    ord("q"): lambda m: m.take(1),  # BINPUT
    ord("r"): lambda m: m.take(4),  # LONG_BINPUT
    ord("("): _mark,  # MARK
    ord("t"): lambda m: m.push(tuple(m.since_mark())),  # TUPLE, and below TUPLE1, 2, 3
    0x85: lambda m: m.push(m.popped(1)),
    0x86: lambda m: m.push(m.popped(2)),
    0x87: lambda m: m.push(m.popped(3)),
    ord("e"): _appends,  # APPENDS
    ord("u"): _set_items,  # SETITEMS
    ord("R"): lambda m: m.push(Call(*m.popped(2))),  # REDUCE
    ord("b"): _build,  # BUILD
}
STOP = ord(".")
MOST_OPCODES = 200_000  # the real files have 40,000; each may take memory, whatever the size of the file


def read_pickle(data: bytes, name: str, opcodes: Opcodes = OPCODES, most: int = MOST_OPCODES) -> Any:
    """What the pickle `data` describes, in None, bool, int, bytes, memoryview, tuple, list, dict, Global and Call.

    name: the file, for messages. opcodes: what may be in it, at most `most` of them. Raises DataError, naming the
    opcode and its offset.
    """
    return read_next(Machine(data), name, opcodes, most)


def read_next(machine: Machine, name: str, opcodes: Opcodes, most: int = MOST_OPCODES) -> Any:
    """The same of the pickle that begins where the machine is, which is then behind it."""
    machine.stack, machine.below, machine.memo = [], [], {}
    data, start = machine.data, machine.at
    try:
        for _ in range(most):
            start = machine.at
            opcode = data[start]
            machine.at += 1
            if opcode == STOP:
                (value,) = machine.popped(1)
                return value
            opcodes[opcode](machine)
        problem = "comes after more of them than such a file has"
    except KeyError:
        problem = "has no place in such a file"
    except IndexError as error:
        problem = f"cannot be followed: {error}"
    raise DataError(f"{name}: damaged at byte {start}: opcode {data[start : start + 1]!r} {problem}")
