"""Names for shapes that every room passes on."""

import os
from typing import Any

PathLike = str | os.PathLike[str]
Row = dict[str, Any]  # one row of a table, or one object of a JSON artifact, by column or key
