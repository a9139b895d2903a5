"""Placeholder until the register of bundles is there."""

import sqlite3
from pathlib import Path


class BundleRegister:
    """Bundles that were made and seen."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
