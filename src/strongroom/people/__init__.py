"""People sign in: what they show, what is counted against guessing, and the sessions that come of it."""
