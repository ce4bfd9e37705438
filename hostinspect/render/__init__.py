"""A topology, or the answer to a question, in; text out."""
