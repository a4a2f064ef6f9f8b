"""What is measured: this engine and its peers, each behind the same small protocols."""
