"""A judgement for people and programs, against an earlier one, and against the server's own log."""
