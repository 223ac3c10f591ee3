"""From pictures to the range each activation tensor is quantized over."""
