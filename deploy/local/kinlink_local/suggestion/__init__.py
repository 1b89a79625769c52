"""`kinlink suggest`: passes and caps for a federation that does not exist yet, from its statistics.

`errors` says how two records of one person differ, `islands` how large islands become, `prediction`
puts both together for each candidate, `choice` takes the best set, `writing` writes the schema.
"""
