"""What several families of models share: a loss, its players, their diagnostics."""
