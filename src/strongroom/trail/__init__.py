"""The audit trail: every act is one record, written with the act, in a Merkle tree whose checkpoints leave the host."""
