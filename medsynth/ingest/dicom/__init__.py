"""DICOM: from the headers of files to planes, and from planes to volumes."""
