"""The command line, one file per verb. Nothing here is heavy to import: verbs import what they need when called."""
