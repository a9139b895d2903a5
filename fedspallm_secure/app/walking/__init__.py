"""Walking a decoder block by block, whatever its architecture and however little memory there is.

`discovery` finds the blocks and their matrices, `skeleton` holds the model with its blocks on disk, `capture`
records what each block is called with, `activations` keeps hidden states in memory or on disk, `walk` drives
batches through one block after another, and `workshop` opens all of this as the settings say.
"""
