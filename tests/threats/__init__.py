"""The executable index of docs/THREAT_MODEL.md: one short test for every row of its section 3 that names one.

Each plays the attack against the real classes, and sees the error class of the row and that nothing was published.
"""
