"""What users declare, read into frozen values: metrics, their conditions and their paths.

Import from the defining module; the package itself offers no names, so that reading one kind of
definition never loads the machinery of another.
"""
