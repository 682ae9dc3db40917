"""From a checkpoint and a plan to a cohort; every scan reproducible from its index alone."""
