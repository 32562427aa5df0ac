"""How far one sample lies from another: matched samples, two-sample statistics, mock observation of simulations."""
