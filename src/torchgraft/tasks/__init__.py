"""What labels mean: how a kind of label is split, measured, compared, shipped and told. One file for each kind."""
