"""What the tests with real processes share: servers, a crowd of buyers, and the audit after them."""
