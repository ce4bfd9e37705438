"""A topology in, text out."""
