"""Where products lie: the store, its keys, receipts and checksums, leases and garbage."""
