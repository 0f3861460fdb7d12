"""DICOM files: one slice, who and what it is, and any folder of them."""
