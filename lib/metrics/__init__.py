"""Quality of one image; significance of differences."""
