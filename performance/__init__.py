"""A bench: how fast the data-free loop is, beside a plain loop in the manner of public code."""
