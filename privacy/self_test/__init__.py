"""The judge put to the test by itself, once for all cohorts judged against the same people."""
