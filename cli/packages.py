"""`fedprune package`: seal a file for another party, open one, verify one, or look at what one claims."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from fedprune_cli import console
