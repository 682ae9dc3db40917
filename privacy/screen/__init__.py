"""One synthetic scan against every real one: a calibrated decision."""
