"""Who leaked: from the recording of a leak to the C function that is guilty.

    recording   the bytes that sys.refmap_record_stop() returns, as records
    tokens      the way of each reference through the functions that had it;
                calls, lives, matching, fields and weak are parts of that
    accusing    which functions a reference that was left accuses; functions,
                holding, slots and heirs say what it needs to know of them
    suspects    who is guilty, of all that leaked: analyse()
    evidence    that way as steps which a reader can check against the source
    symbols     names of code: loaded finds the file of an address, sites
                functions, files and lines, sources short names of files
    roles       functions that references merely pass through
    contracts   which functions of the C API return new references, which steal
    owners      who holds a leaked object; kinds of leaks
    batch       some runs under the recorder, between two snapshots
    watching    what to record, by the findings of a hunt
    thinning    what of a recording is not needed
    births      where leaked objects were born; stacks, of C functions
    blocks      memory that stays after each run
    search      drives all of it
    diagnosis   diagnose(): a hunt, and the search
    report      a diagnosis as text, or for JSON
    rules       what a suspect's rule means; sarif, annotations, junit

Nothing of it is loaded by `import refmap`. recording, tokens, accusing,
suspects and evidence work on literal records, in any interpreter.
"""
