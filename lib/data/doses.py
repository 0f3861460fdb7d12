"""The two doses of a series, in the words of the manifest, of Mayo's folders and of file names."""

DOSES = FULL, LOW = "full", "quarter"
"""'quarter' is Mayo's word: here it means the low dose, whatever its fraction."""

LARGEST_I0 = 1e9  # photons per detector bin that can be asked for: with any modulation their counts are integers still
