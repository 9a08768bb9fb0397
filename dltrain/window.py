"""The arithmetic of sliding windows, shared by convolution and pooling. Pure integers, no arrays."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

from dltrain.errors import ShapeError

Ints = int | tuple[int, ...]
Padding = Literal["same", "valid"] | int | tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """A window sliding over 1, 2 or 3 spatial dimensions; every tuple has one entry for each.

    in_size, out_size: positions of the input and of the output.
    padding: (before, after) for each dimension.
    """

    in_size: tuple[int, ...]
    out_size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]

    @classmethod
    @lru_cache(maxsize=256)  # an op asks for the same ones in every step
    def of(
        cls,
        in_size: tuple[int, ...],
        kernel: Ints,
        stride: Ints = 1,
        padding: Padding = "valid",
        dilation: Ints = 1,
    ) -> "Window":
        """Settle the sizes.

        padding "same" gives ceil(in / stride) outputs, an odd pixel going to the end; "valid" pads
        nothing; a number pads both ends. Raises ShapeError where nothing would come out.
        """
        n = len(in_size)
        if not 1 <= n <= 3:
            raise ShapeError(f"a window slides over 1 to 3 spatial dimensions, but this input has {n}")
        kernel = per_dimension(kernel, n, "kernel")
        stride = per_dimension(stride, n, "stride")
        dilation = per_dimension(dilation, n, "dilation")
        extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
        if padding == "same":
            needed = [max(0, (-(-i // s) - 1) * s + e - i) for i, s, e in zip(in_size, stride, extent, strict=True)]
            pads = tuple((p // 2, p - p // 2) for p in needed)
        else:
            amounts = per_dimension(0 if padding == "valid" else padding, n, "padding", least=0)
            pads = tuple((p, p) for p in amounts)
        out = []
        for i, e, s, (before, after) in zip(in_size, extent, stride, pads, strict=True):
            if i + before + after < e:
                raise ShapeError(
                    f"the kernel covers {e} positions but the input has only {i} + {before} + {after} = "
                    f"{i + before + after} with padding; use a smaller kernel or more padding"
                )
            out.append((i + before + after - e) // s + 1)
        return cls(tuple(in_size), tuple(out), kernel, stride, pads, dilation)

    @classmethod
    @lru_cache(maxsize=256)
    def transposed(
        cls,
        size: tuple[int, ...],
        kernel: Ints,
        stride: Ints = 1,
        padding: Ints = 0,
        output_padding: Ints = 0,
        dilation: Ints = 1,
    ) -> "Window":
        """The window of the convolution that a transposed one turns round: it makes `size` of `in_size`.

        in_size = (size - 1) · stride - 2 · padding + (kernel - 1) · dilation + 1 + output_padding. With a stride,
        several sizes give `size`; output_padding, below the stride, chooses. Raises ShapeError.
        """
        n = len(size)
        if not 1 <= n <= 3:
            raise ShapeError(f"a window slides over 1 to 3 spatial dimensions, but this input has {n}")
        kernel, stride = per_dimension(kernel, n, "kernel"), per_dimension(stride, n, "stride")
        padding, dilation = per_dimension(padding, n, "padding", least=0), per_dimension(dilation, n, "dilation")
        more = per_dimension(output_padding, n, "output_padding", least=0)
        large = []
        for i, k, s, p, o, d in zip(size, kernel, stride, padding, more, dilation, strict=True):
            if o >= s:
                raise ShapeError(f"output_padding {o} must be below the stride, at most {s - 1}")
            out = (i - 1) * s - 2 * p + (k - 1) * d + 1 + o
            if out < 1:
                raise ShapeError(
                    f"({i} - 1) · {s} - 2 · {p} + {(k - 1) * d + 1} + {o} = {out} positions would come out; "
                    f"use less padding"
                )
            large.append(out)
        return cls.of(tuple(large), kernel, stride, padding, dilation)

    @cached_property
    def padded_size(self) -> tuple[int, ...]:
        return tuple(i + before + after for i, (before, after) in zip(self.in_size, self.padding, strict=True))

    @cached_property
    def extent(self) -> tuple[int, ...]:
        """Input positions that one window reaches over: (kernel - 1) * dilation + 1."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    @property
    def tiles(self) -> bool:
        """Whether each input position lies under exactly one window."""
        each = zip(self.in_size, self.out_size, self.stride, self.kernel, self.dilation, strict=True)
        return all(i == o * s and s == k and d == 1 for i, o, s, k, d in each) and not any(map(any, self.padding))

    def explain(self) -> str:
        """The output size as a formula, one term for each different dimension."""
        terms = []
        for i, e, s, (before, after), o in zip(
            self.in_size, self.extent, self.stride, self.padding, self.out_size, strict=True
        ):
            term = f"⌊({i} + {before} + {after} − {e}) / {s}⌋ + 1 = {o}"
            if term not in terms:
                terms.append(term)
        return "; ".join(terms)


def per_dimension(value: Ints, n: int, what: str, least: int = 1) -> tuple[int, ...]:
    """One number for all dimensions, or one for each."""
    values = (value,) * n if isinstance(value, int) else tuple(value)
    if len(values) != n:
        raise ShapeError(f"{what} {list(values)} has {len(values)} numbers, but the input has {n} spatial dimensions")
    if min(values) < least:
        raise ShapeError(f"{what} {list(values)} must be at least {least} everywhere")
    return values
