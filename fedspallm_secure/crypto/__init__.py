"""Primitives with the choices already made: bytes in, bytes out, no I/O."""
