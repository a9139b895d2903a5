"""What writes tests/vectors: the formats of docs/SPEC.md once more, by hand and without the library."""
