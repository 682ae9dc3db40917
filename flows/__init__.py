"""The order: Prefect flows, MLflow, the command line: who does what, when, and what is recorded."""
