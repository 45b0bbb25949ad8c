"""What only a simulator has: settable limits, injected faults, the ledger, and the interface that reaches them."""
