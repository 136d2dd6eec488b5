"""What ragged data needs on the device of its tensors."""
