"""What leaves: a certified cohort as a data set, its report, and the check that anyone can run."""
