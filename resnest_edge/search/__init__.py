"""What drives the stages in a loop: sensitivity of the layers, and the bound on the drop."""
