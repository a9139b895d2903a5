"""The whole server step of federated pruning on one matrix of 2 x 4 weights.

Three members dropped half of a matrix each.  Watch what the server computes from two sums, and nothing else.
"""

from fractions import Fraction

import torch

from fedspallm_secure.pruning.aggregation import MatrixSums, Strategy, aggregate
from fedspallm_secure.pruning.patterns import Unstructured

dense = torch.tensor([[0.9, -0.1, 0.4, 0.2], [-0.3, 0.8, 0.05, -0.6]])
keep_masks = [
    torch.tensor([[1, 0, 1, 0], [0, 1, 0, 1]], dtype=torch.bool),
    torch.tensor([[1, 0, 0, 1], [0, 1, 0, 1]], dtype=torch.bool),
    torch.tensor([[1, 0, 1, 0], [1, 1, 0, 0]], dtype=torch.bool),
]

sums = MatrixSums.empty((2, 4), Strategy.FEDSPALLM)
for number, keep in enumerate(keep_masks):
    updated = dense + 0.01 * number  # a solver such as SparseGPT changes what it keeps
    sums.add(keep, updated)

result = aggregate(sums, dense, Unstructured(Fraction(1, 2)))

print("keep counts C\n", sums.count)
print("kept sums S\n", sums.kept)
print("pruned matrix: S / C, half of the weights dropped, those fewest members kept\n", result.weight)
print("weights by keep count 0..3:", result.histogram)
assert int((~result.keep).sum()) == 4
