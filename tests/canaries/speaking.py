"""Many commands of ``python -m app`` in one process: what each prints, as a JSON line.

Reads a JSON list of arguments on each line of standard input. Starting Python for each of some hundred commands would
take longer than everything else.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys

from app.cli import main as command_line


def main() -> None:
    """Answer each line until there is none."""
    for line in sys.stdin:
        said = io.StringIO()
        with (
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
            contextlib.suppress(SystemExit),
        ):
            command_line.main(json.loads(line))
        logging.shutdown()
        print(json.dumps(said.getvalue()), flush=True)


if __name__ == "__main__":
    main()
