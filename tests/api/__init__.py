"""How every endpoint behaves, and the reference that says so."""
