"""One key for all tests of a module, and some ciphertexts under it."""

import numpy as np
import pytest

from fedspallm_secure.he import bfv
from fedspallm_secure.he.parameters import choose
from tests.he.vectors import draw_vector, encrypted


@pytest.fixture(scope="session")
def parameters():
    return choose(5, 7)


@pytest.fixture(scope="session")
def pair(parameters):
    return bfv.generate(parameters)


@pytest.fixture(scope="session")
def weights(parameters):
    return parameters.weights_per_chunk + 3


@pytest.fixture(scope="session")
def members(parameters, weights):
    """Three members' vectors."""
    draws = np.random.default_rng(1)
    return [draw_vector(parameters, weights, draws) for _ in range(3)]


@pytest.fixture(scope="session")
def ciphertexts(parameters, pair, members):
    return [encrypted(parameters, pair.public, vector) for vector in members]
