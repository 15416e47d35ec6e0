"""Reading images with compiled code: parts of JPEGs, resizing, and normalization.

The code is compiled by the first training run or `Predictor` on a machine, and used from then on. Its results are
bit-identical to those of OpenCV and NumPy, which are used where it is not available.
"""
