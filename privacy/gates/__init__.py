"""The gates: measured counts against a policy's limits, with the reason in plain words."""
