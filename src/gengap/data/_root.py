"""Where the files of built-in data sets are looked for, and put."""

import os
import sys
from pathlib import Path

VARIABLE = "GENGAP_DATA"


def user_cache() -> Path:
    """Return the user's cache folder for gengap, by the platform's custom."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "gengap"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        return Path(local) / "gengap" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gengap"


def roots(root: str | Path | None) -> list[Path]:
    """Return the folders to look in, best first: `root` alone, or the variable and the cache."""
    if root is not None:
        return [Path(root).expanduser()]
    variable = os.environ.get(VARIABLE)
    return [*([Path(variable).expanduser()] if variable else []), user_cache()]


def find_folder(folder: str, *, root: str | Path | None) -> Path:
    """Return the first place where a data set's folder stands, or the first it may stand in."""
    places = [place / folder for place in roots(root)]
    return next((place for place in places if place.is_dir()), places[0])
