"""The closed list of codes: why a file is refused or left out, and what a flag on a volume means.

One line each, for a person who reads the table at the end of an ingest or its page. A code that
ends in ":" stands for the same code followed by an attribute's name.
"""

REASONS: dict[str, str] = {
    "affine_conflict": "qform and sform disagree; set ingest.nifti.conflict to sform or qform",
    "ambiguous_subject": "the table names several subjects for one image",
    "analyze": "an Analyze file, which carries no reliable orientation",
    "bad_element": "an element of the header cannot be read or contradicts another",
    "bad_gradients": "b-values or directions beside the file do not fit it",
    "bad_spacing": "a voxel size that is 0, negative or no size of a voxel",
    "burned_in_text": "text is part of the pixels, or the header says so",
    "color": "a color image; a volume has one channel",
    "complex": "complex numbers; a voxel has one real value",
    "crashed": "every process that read it died",
    "decode_failed": "the pixels could not be decoded or stacked",
    "depth_limit": "sequences nested deeper than any real file's",
    "duplicate": "the same image of the same subject again",
    "duplicate_conflict": "two different images claim the same place",
    "embedded_overlay": "graphics lie in unused bits of the pixels",
    "empty": "a file without content",
    "face": "a head whose face could be reconstructed",
    "inflate_limit": "inflates to more bytes than are allowed",
    "mgh": "a FreeSurfer MGH file; convert it to NIfTI",
    "missing_file": "the table names a file that is not there",
    "mosaic": "a mosaic whose tiles cannot be placed",
    "multi_frame": "a multi-frame image whose frames cannot be placed",
    "multi_page": "a picture of several pages",
    "multi_volume": "several volumes: set ingest.nifti.volumes to split, first or an index",
    "nifti_pair": "a NIfTI header and image in two files; join them in one .nii",
    "no_geometry": "nothing says where the voxels lie in the patient",
    "no_mask": "said to be a mask, but its values are no labels",
    "no_subject": "nothing says whose image it is",
    "no_such_volume": "the file has fewer volumes than ingest.nifti.volumes asks for",
    "nonfinite": "too many voxels are no numbers",
    "not_an_image": "no image: a report, a plan, a text, another kind of file",
    "not_dicom": "called DICOM, but is not",
    "ocr_missing": "the configuration requires tesseract (pixels.ocr), which is not installed",
    "rotated": "a TIFF to be rotated for display, which cannot be decoded safely",
    "secondary_capture": "a screen shot or another capture, no acquisition",
    "store_failed": "the volume could not be written",
    "timeout": "took longer to read than is allowed",
    "too_large": "larger than is allowed",
    "trailing_data": "more data than the header speaks of",
    "transparent": "a picture with transparent parts",
    "truncated": "ends before its content does",
    "unknown_diffusion": "diffusion-weighted, in an encoding that is not understood",
    "unsupported_format": "an image format that carries no reliable geometry",
    "unsupported_modality": "a kind of image that is no volume of one quantity",
    "unsupported_pixels": "a pixel type that cannot be a voxel",
    "unsupported_sop_class": "a kind of DICOM object that `deidentify` has no list for",
    "unsupported_transfer_syntax": "a compression that nothing here can decode",
    "variable_spacing": "gaps between planes too wide to fill",
    "vector_data": "several numbers at one place, no volume of one quantity",
}
"""Why a file was refused."""

LEFT_OUT: dict[str, str] = {
    "bidsignore": "named in .bidsignore",
    "derived": "lies in a folder that BIDS keeps for derived or raw files",
    "file_pattern": "its path was not asked for (files)",
    "localizer": "a scout image; kept where the configuration says so (localizers)",
    "mask": "a mask or segmentation; attributes may be measured in it",
    "not_bids": "lies in a BIDS dataset under a name that is none of BIDS",
    "not_listed": "the table lists the images, and not this file",
    "series_description": "its series description was not asked for",
    "sidecar": "a text or table that describes images",
    "small_matrix": "fewer pixels on a side than the configuration asks for (min_matrix)",
}
"""Why a file was left out by choice, which is no fault of the file."""

FLAGS: dict[str, str] = {
    "affines_differ": "qform, sform and voxel size differ; the sform or the one configured counts",
    "attribute_ambiguous:": "one source has several values for this; it counts as missing",
    "attribute_conflict:": "sources contradict each other on this; it counts as missing",
    "attribute_refused:": "the value is out of range or not on the list; it counts as missing",
    "defaced": "a head whose face was removed",
    "detector_plane": "a projection; it lies in the detector's plane, not in the patient",
    "duplicates_dropped": "identical planes at one place were kept once",
    "face_kept": "a head with its face, as the configuration says (pixels.faces)",
    "files_quarantined": "some files of this volume were refused; the gaps were filled",
    "gradient_frame_assumed": "the frame of the diffusion direction is not stated; one was assumed",
    "lossy": "the pixels were compressed with loss",
    "missing_slices": "missing planes were interpolated between their neighbors",
    "monochrome1": "white is stored as 0; values are kept, displays must invert them",
    "no_attributes": "nothing is known about this scan",
    "nonfinite_replaced": "voxels that were no numbers got the smallest value",
    "orientation_applied": "a picture that was turned upright as its header says",
    "orientation_assumed": "nothing says how the volume is oriented; RAS+ was assumed",
    "precision_reduced": "values need more digits than are stored; they were rounded",
    "sheared": "planes are shifted against each other (tilt or drift); the affine says so",
    "sidecar_unreadable": "a text that describes this scan could not be read",
    "single_slice": "one plane; its thickness stands for the step",
    "slice_order_assumed": "a mosaic that does not say which way its slices run",
    "slope_ignored": "the scale factor is no number; values are as stored",
    "spacing_assumed": "no spacing is given; 1 mm was assumed",
    "text_marker": "a letter or two in the pixels, as of a marker of side",
    "text_suspected": "something in the pixels may be text; none was read",
    "top_coded": "an age of 89 years or more, stored as 89",
    "trailing_data": "a few bytes follow the image",
    "unit_assumed": "no unit of length is given; mm was assumed",
    "variable_spacing": "uneven planes were interpolated onto a regular grid",
    "volume_chosen": "one of several volumes of a file, as the configuration says",
}
"""What was repaired or assumed in a volume that was accepted."""


def words_of(code: str, words: dict[str, str]) -> str:
    """The line that explains a code; empty where the list does not have it."""
    return words.get(code) or words.get(f"{code.split(':')[0]}:", "")
