"""Reading an event log: what refmap.EventLog, Profile and Trace wrote.

    format       the file: header and chunks; see Doc/log-format.md
    stream       the records of a stream; fields: what records are made of
    kinds        the kinds of records, and the events
    names        types, code, places and modules that records name
    lines        co_linetable: from an offset in the bytecode to a line
    events       the events of one or several logs, by their clocks
    c_functions  return addresses of a place as C functions
    show         the events as a text table, also of a log that still grows
    analysis     who made what, who deleted it, what is still alive
    lives        the objects of a process while its events are read
    selection    which objects an analysis is about
    report       an analysis as text, or for JSON
    samples      births, deaths and what stayed by stack, for the viewers
    speedscope, pprof, perfetto
                 files for these viewers; protobuf: what pprof's are made of

It needs no map: it works in any Python from 3.11 on. Nothing of it is loaded
by `import refmap`.
"""
