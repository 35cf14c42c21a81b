"""From observations to findings, a grade, a matrix and estimates: pure, by rules that are data."""
