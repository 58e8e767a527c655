"""A hook of the wheel's build: with ``IFENGINE_COMPILE=1`` the wheel carries the native libraries.

It is then a wheel for this Python and this kind of machine; without, one for any.
"""

import os
import sys
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledWheel(BuildHookInterface[Any]):
    """Adds what ``compiled.building`` makes."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and name the libraries to be packed."""
        if os.environ.get("IFENGINE_COMPILE") != "1" or version == "editable":
            return
        sys.path.insert(0, self.root)
        from compiled.building import built, libraries

        folder = built()
        build_data["force_include"] |= {
            str(library): library.relative_to(folder).as_posix() for library in libraries(folder)
        }
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def get_build_hook() -> type[CompiledWheel]:
    """Return the hook; hatchling asks."""
    return CompiledWheel
