"""pyarrow, which the extra `bulk` installs; it is imported only where it is used."""

from __future__ import annotations

import importlib

from altclip.datasets.items import DataError


def require(*modules: str) -> None:
    """Raises DataError that names the extra where one of these libraries is missing."""
    for name in modules or ("pyarrow", "pyarrow.parquet"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise DataError(f"this needs {name}: pip install 'altclip[bulk]' ({error})") from None
