"""What became of every file: counts, and the page that shows them."""
