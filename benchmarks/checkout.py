"""Imported first, this lets a script find minicnn beside its own folder where it is not installed."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))
