"""A writer under cProfile: `python -m bench.profiled FILE`; the file is written when the writer ends."""

import cProfile
import sys

from calbus.settings import load
from calbus.telemetry import configure_logging
from services.writer.__main__ import main
from services.writer.settings import WriterSettings

if __name__ == "__main__":
    settings = load(WriterSettings)
    configure_logging(settings)
    profile = cProfile.Profile()
    try:
        profile.runcall(main, settings)
    finally:
        profile.dump_stats(sys.argv[1])
