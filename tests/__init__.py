"""The tests mirror the source: one folder a package, and ``browser/`` for what a person would see."""
