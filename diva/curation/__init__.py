"""What one does with the closed forms: detect, extend, reweight, judge a set; imports numerics, store and text."""
