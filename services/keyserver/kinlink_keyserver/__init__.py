"""The key server: evaluates blinded blocking values under its keys, within budgets."""
