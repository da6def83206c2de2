"""Words everybody uses: errors, types, registry, options, runtime, files. Imports nothing of the other rooms."""
