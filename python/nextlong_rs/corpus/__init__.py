"""Lists the inputs of a run and reads them block by block."""
