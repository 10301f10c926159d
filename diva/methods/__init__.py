"""Other ways to value samples, one paper a file, behind one interface (`diva.methods.registry`)."""
