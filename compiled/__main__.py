"""``python -m compiled [WORDS]``: make the compiled form, and run Python with it."""

import os
import subprocess
import sys

from compiled.building import NoCompilerError, built


def main(words: list[str]) -> int:
    """Build; then become the Python that was asked for."""
    try:
        folder = built()
    except subprocess.CalledProcessError:
        print("compiled: the modules do not compile, see above", file=sys.stderr)
        return 1
    except NoCompilerError as missing:
        print(f"compiled: {missing}; the interpreted form does the same, slower", file=sys.stderr)
        folder = None
    if not words:
        print(folder or "not compiled")
        return 0 if folder else 1
    environment = dict(os.environ)
    if folder:
        paths = [str(folder), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    os.execve(sys.executable, [sys.executable, *words], environment)


sys.exit(main(sys.argv[1:]))
