"""Nightly batch recommendations on Spark, Delta Lake, Petastorm and PyTorch."""

import sys

# A Python worker of Spark reads the directory of every archive on its path anew before each task. Of Spark's own jar, which holds no
# Python and many thousand classes, that takes .2 s: longer than most of our tasks.
for _jar in [path for path in sys.path if path.endswith(".jar")]:
    sys.path.remove(_jar)
    sys.path_importer_cache.pop(_jar, None)
