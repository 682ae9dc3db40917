"""Archives of DICOM and NIfTI in, a manifest of de-identified volumes out."""
