"""`python -m altclip` is the `altclip` command."""

from __future__ import annotations

import sys

from altclip.cli import main

sys.exit(main())
