"""What stands below a folder, to compare before and after."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path


def snapshot(folder: Path) -> dict[str, str]:
    """Every name below a folder, hidden ones too, with its kind, rights and (of files up to 64 MiB) digest."""
    found: dict[str, str] = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root, name)
            info = path.lstat()
            content = f"{info.st_size}"
            if stat.S_ISREG(info.st_mode) and info.st_size <= 1 << 26:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(folder))] = f"{stat.filemode(info.st_mode)} {content}"
    return found
