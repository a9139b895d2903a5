"""The log of a server, and what everybody can check of it (SPEC sections 22 and 23).  No I/O."""
