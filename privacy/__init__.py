"""The judge: measures whether a cohort gives away patients, and certifies what it found."""
