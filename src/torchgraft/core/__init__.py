"""Words everybody uses: errors, types, registry, options, runtime, files, progress. Imports nothing of the other rooms."""
