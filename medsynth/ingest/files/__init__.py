"""Single files: NIfTI volumes and plain pictures, and what BIDS says beside them."""
