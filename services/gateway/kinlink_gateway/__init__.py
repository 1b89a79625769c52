"""The only door for people: authenticates, authorises, audits, shows links and records verdicts."""
