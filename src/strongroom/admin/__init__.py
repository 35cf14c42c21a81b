"""What an operator does to an archive: peers, accounts, keys, deletion, media, check. No printing, no options."""
