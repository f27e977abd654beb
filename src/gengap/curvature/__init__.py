"""Second derivatives of a risk, and what is made of them: spectra, sharpness, paths, evidence."""
