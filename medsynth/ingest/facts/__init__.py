"""What is known about a scan: tags, tables and words in their normal form, as a schema."""
