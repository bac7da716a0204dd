"""The product's stream worker, exactly as `analytics worker` runs it: [PROFILE_FILE] CONFIG_DIR."""

import sys
from pathlib import Path

from analytics.configuration import load_configuration
from analytics.worker import run
from benchmarks.candidates import stages

if __name__ == "__main__":
    *profile, directory = map(Path, sys.argv[1:])
    if profile:
        stages.install(profile[0])
    # No environment: a figure must not hang on the shell it was measured in.
    sys.exit(run(load_configuration(directory, {}, {})))
