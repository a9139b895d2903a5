"""Federated pruning of language models across institutions that keep their data to themselves.

Where to start reading:

- `fedspallm_secure.pruning` - the mathematics: scores, keep-masks, SparseGPT, the server step;
- `fedspallm_secure.protocol` - what a round's plan says and how many bytes a member sends;
- `fedspallm_secure.app` - members, server and simulation, where files and models come in;
- docs/ALGORITHM.md - every formula with its source and every choice with its reason.

Importing this package does not import torch.
"""

from fedspallm_secure.errors import FedSpaError

__version__ = "0.1.0"

SOFTWARE = f"fedspallm-secure/{__version__}"  # what this program calls itself in plans and offers (SPEC section 16)

__all__ = ["FedSpaError", "__version__"]
