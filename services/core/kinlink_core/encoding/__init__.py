"""What leaves a registry and how it is made: an auditor reads this folder alone.

schema and normalize say what is compared, features what a value becomes before any key, keys the
whole key schedule, sketch and encode what a vault keeps, seal and chance what the linker gets to
compare, and canary whether two registries do all of it alike. Nothing here imports anything else of
ours.
"""
