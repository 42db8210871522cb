"""What any program needs: flags, checks, files, progress; no TensorFlow."""
