"""De-identification of DICOM by PS3.15 Annex E, default deny: only what is listed survives."""
