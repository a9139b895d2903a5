"""The mathematics of federated pruning: tensors in, tensors out, no files, no models, no devices chosen.

Read in this order: `patterns` (what sparsity means), `scores`, `keepmasks`, `statistics`, `sparsegpt`,
`pruners` (one matrix, any method), `aggregation` (the whole server step), `layer_sampling`.
"""
