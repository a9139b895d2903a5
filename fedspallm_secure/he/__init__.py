"""Homomorphic encryption: sums of vectors under a key that neither the server nor a member has."""
