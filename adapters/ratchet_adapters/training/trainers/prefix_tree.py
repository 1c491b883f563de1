"""A padded batch with what its rows have in common computed once: each sequence holds a tree of tokens.

Both answers of a pair follow one prompt, and all prompts one system message: most tokens of a batch of pairs are
repetitions. A token sees its ancestors in the tree, at the positions they have in a row by itself, so the result is the
same. It must not know the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["Tree", "prefix_tree"]

_ROWS = 4
"""Rows per sequence: more share more, but attention grows with the square of a sequence's length."""
_ROUND = 16


@dataclass(frozen=True)
class Tree:
    """A batch's tokens without repetitions.

    Attributes:
        input_ids, position_ids: (sequences, length), int64.
        visible: (sequences, 1, length, length), bool: what each token may see.
        places: (rows, row length), int64: flat position of each token of the batch; 0 for padding.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    visible: torch.Tensor
    places: torch.Tensor


def prefix_tree(ids: torch.Tensor, attention: torch.Tensor) -> Tree:
    """Return the tree of a batch.

    Args:
        ids: Token ids, (rows, length), padded on the right.
        attention: 1 for tokens, 0 for padding.
    """
    rows = [row[:size] for row, size in zip(ids.tolist(), attention.sum(-1).tolist(), strict=True)]
    # In this order rows that begin alike stand side by side.
    order = sorted(range(len(rows)), key=rows.__getitem__)
    lines = [_Line([rows[number] for number in order[start : start + _ROWS]]) for start in range(0, len(order), _ROWS)]
    # Few different lengths: the CPU's matrix kernels are built once per shape.
    length = -(-max(len(line.tokens) for line in lines) // _ROUND) * _ROUND
    input_ids = torch.zeros(len(lines), length, dtype=torch.long)
    position_ids = torch.zeros_like(input_ids)
    # Filling sees itself, for softmax needs something.
    visible = torch.eye(length, dtype=torch.bool).repeat(len(lines), 1, 1)
    places = torch.zeros_like(ids, device="cpu")
    for number, line in enumerate(lines):
        size = len(line.tokens)
        input_ids[number, :size] = torch.tensor(line.tokens)
        position_ids[number, :size] = torch.tensor(line.depths)
        for token, parent in enumerate(line.parents):
            if parent >= 0:
                visible[number, token] |= visible[number, parent]
        for row, path in zip(order[number * _ROWS :], line.paths, strict=False):
            places[row, : len(path)] = torch.tensor(path) + number * length
    device = ids.device
    return Tree(input_ids.to(device), position_ids.to(device), visible[:, None].to(device), places.to(device))


class _Line:
    """The tree of a few rows, parents before children."""

    def __init__(self, rows: list[list[int]]) -> None:
        self.tokens: list[int] = []
        self.depths: list[int] = []
        self.parents: list[int] = []
        self.paths: list[list[int]] = []
        known: dict[tuple[int, int], int] = {}
        for row in rows:
            path: list[int] = []
            for depth, token in enumerate(row):
                parent = path[-1] if path else -1
                node = known.setdefault((parent, token), len(self.tokens))
                if node == len(self.tokens):
                    self.tokens.append(token)
                    self.depths.append(depth)
                    self.parents.append(parent)
                path.append(node)
            self.paths.append(path)
