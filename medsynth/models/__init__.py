"""Networks, conditioning, objective and samplers: tensors in, tensors out; no files."""
