"""Files of the user's that hold pictures: archives, videos, published datasets."""
