"""PACS: instances of an archive come into a private spool, each exactly once; ingest reads that."""
