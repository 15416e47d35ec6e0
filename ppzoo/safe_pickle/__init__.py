"""Reading pickles without executing code from them."""
