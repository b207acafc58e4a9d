"""A campaign of faults: seeded cases of what strangers, users and machines do to the zoo, and one verdict on each.

`python -m tests.campaign` runs them all and writes the figures of the README; pytest runs a sample of them by day, and
by night a larger one. A case is a function of its kind, its seed and its number, so that one that fails can be run
again alone: `python -m tests.campaign --kind presets --first 17 --n 1`.
"""
