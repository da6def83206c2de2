"""The only training loop, and what it is fed with."""
