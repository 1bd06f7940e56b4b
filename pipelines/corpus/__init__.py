"""The training corpus: reading any, making an example, searching it, and the grammar of hedged sentences."""
