"""Weight rounding by its effect on the layer's output, instead of each weight to its nearest integer.

The rounding errors E = W − Q of a layer with inputs of covariance H cost tr(E H Eᵀ) of its output. Its columns are
rounded one after the other, each time to the integer nearest to the weight *plus what the columns before it left to
correct* (Frantar et al., "GPTQ", arXiv 2210.17323, after Optimal Brain Quantization; written in the equal form of Chee
et al., "QuIP", arXiv 2307.13304, theorem 6): with H = (U + I) D (U + I)ᵀ, U strictly upper triangular, column k becomes
``round(w_k + Σ_{j<k} (w_j − q_j) U_jk)``. Columns of the largest variance come first, and 1 % of the mean variance on
H's diagonal keeps what few images cannot tell from zero.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_DAMPING = 0.01
_BLOCK = 128  # columns whose feedback waits for one matrix product
_ROWS = 256  # of inputs that wait for one matrix product, whose result is as large however few they are
_FARTHEST = 100  # steps from the nearest integer: far beyond what is seen, and within int8
WIDEST = 4608
"""Columns (512 channels under a 3×3 kernel) beyond which the covariance is kept in diagonal blocks of this size."""

_Float = npt.NDArray[np.float64]
_Float32 = npt.NDArray[np.float32]


class Moments:
    """Accumulates mean and covariance of a layer's inputs in memory that does not grow with the images.

    Args:
        groups: of the convolution; 1 for a matrix product.
        columns: of the weight's matrix, in each group.
    """

    def __init__(self, groups: int, columns: int) -> None:
        starts = range(0, columns, WIDEST)
        self.blocks = tuple(slice(start, min(start + WIDEST, columns)) for start in starts)
        self.count = 0
        self._origin: _Float32 | None = None  # near the mean: float32 sums of squares far from it would cancel
        self._sums = np.zeros((groups, columns))
        self._products: list[_Float32] = [
            np.zeros((groups, block.stop - block.start, block.stop - block.start), np.float32) for block in self.blocks
        ]
        self._waiting: list[_Float32] = []

    @staticmethod
    def size(groups: int, columns: int) -> int:
        """Bytes that such an instance holds, but for rows of a single update that are more than usual."""
        whole, rest = divmod(columns, WIDEST)
        return 4 * groups * (whole * WIDEST**2 + rest**2 + _ROWS * columns)

    def update(self, rows: _Float32) -> None:
        """Count rows of inputs, (groups, rows, columns)."""
        if self._origin is None:
            self._origin = rows.mean(1, keepdims=True)
        shifted = rows - self._origin
        self.count += rows.shape[1]
        self._sums += shifted.sum(1, dtype=np.float64)
        self._waiting.append(shifted)
        if sum(waiting.shape[1] for waiting in self._waiting) >= _ROWS:
            self._multiply()

    def _multiply(self) -> None:
        if not self._waiting:
            return
        rows = np.concatenate(self._waiting, axis=1)
        self._waiting.clear()
        for index, block in enumerate(self.blocks):
            part = rows[:, :, block]
            self._products[index] += part.swapaxes(1, 2) @ part

    def covariance(self, index: int, *, centred: bool) -> _Float:
        """(groups, columns of the block, the same) of one of :attr:`blocks`.

        Args:
            index: of the block.
            centred: take the mean out: it costs nothing where bias correction follows.
        """
        assert self._origin is not None
        self._multiply()
        mean = self._sums[:, self.blocks[index]] / self.count
        found: _Float = self._products[index] / np.float64(self.count)
        found -= mean[:, :, None] * mean[:, None, :]
        if not centred:
            mean += self._origin[:, 0, self.blocks[index]]
            found += mean[:, :, None] * mean[:, None, :]
        return found


class Rounder:
    """Rounds the weights that multiply one layer's inputs; their covariance is factored once for all of them.

    Args:
        moments: of the inputs.
        centred: whether bias correction will take the output's mean error.
    """

    def __init__(self, moments: Moments, *, centred: bool) -> None:
        self._blocks = moments.blocks if moments.count else ()
        self._factors = [
            [_factor(covariance) for covariance in moments.covariance(index, centred=centred)]
            for index in range(len(self._blocks))
        ]

    def deltas(
        self, weight: _Float, nearest: npt.NDArray[np.int8], steps: _Float, *, limit: int
    ) -> npt.NDArray[np.int8]:
        """Round one weight matrix by its effect on the output.

        Args:
            weight: (groups, outputs, columns).
            nearest: the same shape: its nearest integers, which the result is given against.
            steps: (groups, outputs), the weight's scales.
            limit: largest magnitude of an integer.

        Returns:
            int8, the weight's shape: what to add to each nearest integer. All zero where no input was seen.
        """
        found = np.zeros(weight.shape, np.int8)
        for block, factors in zip(self._blocks, self._factors, strict=True):
            scaled = weight[:, :, block] / steps[:, :, None]
            known = nearest[:, :, block].astype(np.float64)
            for group, (order, feedback) in enumerate(factors):
                found[group, :, block][:, order] = _round(
                    scaled[group].T[order], known[group].T[order], feedback, limit
                ).T
        return found


def output_error(weight: _Float, integers: npt.NDArray[np.int8], steps: _Float, covariance: _Float) -> _Float:
    """tr(E H Eᵀ) of each output, (groups, outputs): what rounding adds to the output's variance.

    Args:
        weight: (groups, outputs, columns).
        integers: the same shape.
        steps: (groups, outputs).
        covariance: (groups, columns, columns) of the inputs.
    """
    errors = weight - integers * steps[:, :, None]
    costs: _Float = ((errors @ covariance) * errors).sum(-1)
    return costs


def _round(values: _Float, nearest: _Float, feedback: _Float, limit: int) -> npt.NDArray[np.int8]:
    """Deltas of one group: (columns, outputs) in steps, columns in the order of ``feedback``."""
    low, high = np.maximum(nearest - _FARTHEST, -limit), np.minimum(nearest + _FARTHEST, limit)
    errors, integers = np.zeros_like(values), np.empty_like(values)
    for start in range(0, len(values), _BLOCK):
        stop = min(start + _BLOCK, len(values))
        wanted = values[start:stop] + feedback[:start, start:stop].T @ errors[:start]
        inside = np.ascontiguousarray(feedback[start:stop, start:stop].T)
        for column in range(stop - start):
            at = start + column
            value = np.rint(wanted[column] + inside[column, :column] @ errors[start:at])
            integers[at] = np.minimum(np.maximum(value, low[at]), high[at])
            errors[at] = values[at] - integers[at]
    return (integers - nearest).astype(np.int8)


def _factor(covariance: _Float) -> tuple[npt.NDArray[np.intp], _Float]:
    """The order in which columns are rounded, and U + I of H = (U + I) D (U + I)ᵀ in that order."""
    order = np.argsort(-np.diagonal(covariance), kind="stable")
    variance = float(np.diagonal(covariance).mean())
    if variance <= 0:
        return order, np.eye(len(order))
    backwards = covariance[np.ix_(order[::-1], order[::-1])]
    for more in (1.0, 10.0, 1000.0):  # float32's rounding of products can leave H not quite positive definite
        backwards.flat[:: len(order) + 1] += more * _DAMPING * variance
        try:
            lower = np.linalg.cholesky(backwards)
        except np.linalg.LinAlgError:
            continue
        lower /= lower.diagonal().copy()
        return order, np.ascontiguousarray(lower[::-1, ::-1])
    return order, np.eye(len(order))
