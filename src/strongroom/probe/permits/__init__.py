"""What a run may do: the scope, whose signature counts, and the addresses that it leads to."""
